"""NATS: where updates come from, and where holes are mended."""

from mdstream.bus.embedded import EmbeddedNats
from mdstream.bus.subjects import STREAMS, parse_subject, subject

__all__ = ["STREAMS", "EmbeddedNats", "parse_subject", "subject"]
