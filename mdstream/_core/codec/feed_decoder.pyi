from typing import Literal, NamedTuple, overload

from mdstream.model import Ref, VenueState

class BookValue(NamedTuple):
    epoch: int
    first: int
    last: int
    ts_us: int
    bids: list[int]
    asks: list[int]

class SnapValue(NamedTuple):
    epoch: int
    seq: int
    ts_us: int
    bids: list[int]
    asks: list[int]

class TradeValue(NamedTuple):
    epoch: int
    seq: int
    ts_us: int
    price_ticks: int
    size_lots: int
    side: int
    trade_id: int | str

class StatusValue(NamedTuple):
    epoch: int
    ts_us: int
    state: VenueState
    reason: str
    book_seq: int | None = None
    trade_seq: int | None = None
    heard_us: int | None = None

@overload
def decode_payload(stream: Literal["book"], payload: bytes) -> list[BookValue]: ...
@overload
def decode_payload(stream: Literal["snap"], payload: bytes) -> list[SnapValue]: ...
@overload
def decode_payload(stream: Literal["trade"], payload: bytes) -> list[TradeValue]: ...
@overload
def decode_payload(stream: Literal["status"], payload: bytes) -> list[StatusValue]: ...
@overload
def decode_payload(stream: Literal["ref"], payload: bytes) -> list[Ref]: ...
@overload
def decode_payload(
    stream: str, payload: bytes
) -> list[BookValue] | list[SnapValue] | list[TradeValue] | list[StatusValue] | list[Ref]: ...
