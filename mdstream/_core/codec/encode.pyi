from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from mdstream._core.orderbook.book import FlatLevels

JSON: Final = 0
MSGPACK: Final = 1

_Quote: TypeAlias = tuple[int, int] | None
_Trade: TypeAlias = tuple[int, int, int, Literal["buy", "sell"] | None, int | str]

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
) -> bytes: ...
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
) -> bytes: ...
def trades(
    format: int, sub: int, epoch: int, first: int, trades: Sequence[_Trade], price_exp: int, size_exp: int
) -> bytes: ...
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
) -> bytes: ...
def heartbeat(format: int, time_us: int, seqs: Iterable[tuple[int, int]]) -> bytes: ...
