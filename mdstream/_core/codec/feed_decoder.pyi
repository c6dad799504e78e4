from typing import Literal, NamedTuple, overload

from mdstream.model import Ref, VenueState

class BookValue(NamedTuple):
    """An atomic update of a book; levels flat, ``[ticks, lots, …]``, lots 0 deletes."""

    epoch: int
    first: int
    last: int
    ts_us: int
    bids: list[int]
    asks: list[int]

class SnapValue(NamedTuple):
    """The full book at ``seq``. Whether levels stand best first and not crossed is for ``Book.load`` to judge."""

    epoch: int
    seq: int
    ts_us: int
    bids: list[int]
    asks: list[int]

class TradeValue(NamedTuple):
    """A trade; side 0 unknown, 1 buy (buyer took), 2 sell."""

    epoch: int
    seq: int
    ts_us: int
    price_ticks: int
    size_lots: int
    side: int
    trade_id: int | str

class StatusValue(NamedTuple):
    """What the venue says of an instrument; ``reason`` is empty where none was given."""

    epoch: int
    ts_us: int
    state: VenueState
    reason: str

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
) -> list[BookValue] | list[SnapValue] | list[TradeValue] | list[StatusValue] | list[Ref]:
    """The values of one NATS payload of ``stream``: book, snap, trade, status or ref.

    Raises PayloadError, which names the value, the field and the byte, for bytes that the contract does not allow; an empty
    payload is one of them. ``ref`` and what it holds must be what JSON can pass on: no binary, no extension, no infinity.
    """
