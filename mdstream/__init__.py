"""Market-data streaming over WebSocket: NATS in, sequence-numbered order books out."""

from mdstream._version import __version__

__all__ = ["__version__"]
