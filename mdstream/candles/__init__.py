"""The writer of candles: trades from NATS, candles and 24 h statistics to the stream ``MD_CANDLES``."""

from mdstream.candles.writer import CandleOptions, CandleWriter

__all__ = ["CandleOptions", "CandleWriter"]
