"""NATS: where updates come from, and from which gaps are recovered."""

import mdstream._core  # noqa: F401 - first, because it tells when it is not built
from mdstream.bus.connection import Bus, connect
from mdstream.bus.delayed import DelayedBus, connect_delayed
from mdstream.bus.denied import Denial
from mdstream.bus.embedded import EmbeddedNats
from mdstream.bus.gap_recovery import InstrumentCore, RecoveryOptions
from mdstream.bus.gate import ReaderStats
from mdstream.bus.health import Health
from mdstream.bus.options import BusOptions, StreamOptions
from mdstream.bus.reader import InstrumentReader
from mdstream.bus.readers import Readers
from mdstream.bus.refusals import Refusal, Refusals
from mdstream.bus.shared import ReaderOptions
from mdstream.bus.streams import MD_LOG, MD_STATE, Stored
from mdstream.bus.subjects import STREAMS, parse_subject, subject
from mdstream.bus.watcher import UnknownInstrument, Watcher

__all__ = [
    "MD_LOG",
    "MD_STATE",
    "STREAMS",
    "Bus",
    "BusOptions",
    "DelayedBus",
    "Denial",
    "EmbeddedNats",
    "Health",
    "InstrumentCore",
    "InstrumentReader",
    "ReaderOptions",
    "ReaderStats",
    "Readers",
    "RecoveryOptions",
    "Refusal",
    "Refusals",
    "Stored",
    "StreamOptions",
    "UnknownInstrument",
    "Watcher",
    "connect",
    "connect_delayed",
    "parse_subject",
    "subject",
]
