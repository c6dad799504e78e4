"""NATS: where updates come from, and where holes are mended."""

from mdstream.bus.connection import Bus, connect
from mdstream.bus.embedded import EmbeddedNats
from mdstream.bus.options import BusOptions, StreamOptions
from mdstream.bus.streams import MD_LOG, MD_STATE, Stored
from mdstream.bus.subjects import STREAMS, parse_subject, subject

__all__ = [
    "MD_LOG",
    "MD_STATE",
    "STREAMS",
    "Bus",
    "BusOptions",
    "EmbeddedNats",
    "Stored",
    "StreamOptions",
    "connect",
    "parse_subject",
    "subject",
]
