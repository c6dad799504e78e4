"""Payloads that a feed publishes, one value each, as ``msgpack.packb`` writes them; joined they are a batch.

Levels are flat, ``[ticks, lots, …]``. Only that numbers fit their 64 bits is checked (OverflowError).
"""

from mdstream._core.orderbook.book import FlatLevels

def pack_book(epoch: int, first: int, last: int, ts_us: int, bids: FlatLevels, asks: FlatLevels) -> bytes:
    """A value of stream ``book``: ``[1, epoch, first, last, ts, bids, asks]``."""

def pack_snap(epoch: int, seq: int, ts_us: int, bids: FlatLevels, asks: FlatLevels) -> bytes:
    """A value of stream ``snap``: ``[2, epoch, seq, ts, bids, asks]``, best first."""

def pack_trade(
    epoch: int, seq: int, ts_us: int, price_ticks: int, size_lots: int, side: int, trade_id: int | str
) -> bytes:
    """A value of stream ``trade``; side 1 buyer took, 2 seller took, 0 unknown; an id of at most 126 bytes."""
