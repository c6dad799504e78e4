"""Data messages of the gateway ↔ client contract as bytes; levels are flat, ``[ticks, lots, …]``, best first.

``sub`` and ``crc`` must fit 32 bits, the other unsigned numbers 64: OverflowError. Exponents lie within ±18: ValueError.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from mdstream._core.orderbook.book import FlatLevels

JSON: Final = 0
MSGPACK: Final = 1

_Quote: TypeAlias = tuple[int, int] | None
"""(price_ticks, size_lots)."""
_Trade: TypeAlias = tuple[int, int, int, Literal["buy", "sell"] | None, int | str]
"""(ts_us, price_ticks, size_lots, side, trade_id), the id an integer of 64 bits or a string of up to 126 bytes."""

def delta(
    format: int,
    sub: int,
    first: int,
    last: int,
    ts_us: int,
    bids: FlatLevels,
    asks: FlatLevels,
    crc: int,
    price_exp: int,
    size_exp: int,
) -> bytes:
    """A ``delta``; lots 0 deletes."""

def snapshot(
    format: int,
    sub: int,
    epoch: int,
    seq: int,
    ts_us: int,
    bids: FlatLevels,
    asks: FlatLevels,
    crc: int,
    reason: str,
    price_exp: int,
    size_exp: int,
) -> bytes:
    """A ``snapshot``; ValueError if ``reason`` is none of the contract's."""

def trades(
    format: int, sub: int, epoch: int, first: int, trades: Sequence[_Trade], price_exp: int, size_exp: int
) -> bytes:
    """``trades`` numbered from ``first``; SequenceError if there are none."""

def ticker(
    format: int,
    sub: int,
    epoch: int,
    seq: int,
    ts_us: int,
    bid: _Quote,
    ask: _Quote,
    last: _Quote,
    price_exp: int,
    size_exp: int,
) -> bytes:
    """A ``ticker``; None, or 0 lots, is null in JSON and two nils in MessagePack."""

def heartbeat(format: int, time_us: int, seqs: Iterable[tuple[int, int]]) -> bytes:
    """A ``heartbeat`` of (sub, seq) pairs."""
