"""The venue's messages, typed. Source: Binance spot API, "Web Socket Streams" and "Market Data endpoints"."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from mdstream.errors import FeedError

PriceLevels = list[tuple[str, str]]
"""(price, size) as the venue's decimal texts."""


class DepthDiff(msgspec.Struct, frozen=True):
    """The book's changes in the venue's updates ``first_id`` to ``final_id``; ``ts`` is in ms or µs."""

    symbol: str = msgspec.field(name="s")
    ts: int = msgspec.field(name="E")
    first_id: int = msgspec.field(name="U")
    final_id: int = msgspec.field(name="u")
    bids: PriceLevels = msgspec.field(name="b")
    asks: PriceLevels = msgspec.field(name="a")

    @property
    def ts_us(self) -> int:
        return to_us(self.ts)


class Trade(msgspec.Struct, frozen=True):
    """One trade; if ``buyer_is_maker``, the seller is the taker."""

    symbol: str = msgspec.field(name="s")
    ts: int = msgspec.field(name="E")
    trade_id: int = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    size: str = msgspec.field(name="q")
    buyer_is_maker: bool = msgspec.field(name="m")

    @property
    def ts_us(self) -> int:
        return to_us(self.ts)

    @property
    def side(self) -> Literal["buy", "sell"]:
        return "sell" if self.buyer_is_maker else "buy"


class BookTicker(msgspec.Struct, frozen=True):
    """The venue's own best bid and ask at its book update ``update_id``."""

    symbol: str = msgspec.field(name="s")
    update_id: int = msgspec.field(name="u")
    bid_price: str = msgspec.field(name="b")
    bid_size: str = msgspec.field(name="B")
    ask_price: str = msgspec.field(name="a")
    ask_size: str = msgspec.field(name="A")


class DepthSnapshot(msgspec.Struct, frozen=True):
    """The answer of ``/api/v3/depth``; it has neither symbol nor time."""

    update_id: int = msgspec.field(name="lastUpdateId")
    bids: PriceLevels
    asks: PriceLevels


class ServerShutdown(msgspec.Struct, frozen=True):
    """The venue will close this connection soon: open another."""

    ts: int = msgspec.field(name="E")


Event = DepthDiff | Trade | BookTicker | DepthSnapshot | ServerShutdown

_BY_TYPE: dict[str, type[Event]] = {
    "depthUpdate": DepthDiff,
    "trade": Trade,
    "serverShutdown": ServerShutdown,
}
_FUTURES_FIELDS = {
    "depthUpdate": ("pu", "ps"),
    "trade": ("X", "ps"),
    "bookTicker": ("T", "ps"),
}
"""Fields of the messages of futures that the same messages of spot do not have."""
_FUTURES_EVENTS = ("markPriceUpdate", "forceOrder", "continuous_kline", "indexPriceUpdate", "contractInfo")
_SYMBOL = re.compile(rb'"s"\s*:\s*"(\w+)"')
_STREAM = re.compile(rb'"stream"\s*:\s*"(\w+)@')
_MICROSECONDS = 10**14
"""Event times from here on are µs (``timeUnit=MICROSECOND``), smaller ones ms. It is the year 5138 in ms, 1973 in µs."""


def to_us(ts: int) -> int:
    return ts if ts >= _MICROSECONDS else ts * 1000


def parse(text: bytes | str) -> Event | None:
    """One message of a raw or combined stream; None if it is not market data (answers, other streams).

    Raises FeedError if it does not have the venue's format, or is a message of the venue's futures.
    """
    try:
        message = msgspec.json.decode(text)
        if isinstance(message, dict) and "stream" in message and "data" in message:
            message = message["data"]
        _refuse_futures(message, text)
        kind = _kind(message)
        return None if kind is None else msgspec.convert(message, kind, strict=True)
    except msgspec.MsgspecError as error:
        raise FeedError(f"not a message of Binance's spot streams: {error}: {_excerpt(text)}") from None


def hint(text: bytes) -> str | None:
    """The symbol that a message which ``parse`` refuses seems to be about; None if that cannot be told."""
    found = _SYMBOL.search(text) or _STREAM.search(text)
    return found[1].decode().upper() if found else None


def _kind(message: Any) -> type[Event] | None:
    if not isinstance(message, dict):
        return None
    if "e" in message:
        return _BY_TYPE.get(str(message["e"]))
    if "lastUpdateId" in message:
        return DepthSnapshot
    # bookTicker is the only stream whose messages have no event type.
    return BookTicker if "B" in message and "u" in message else None


def _refuse_futures(message: Any, text: bytes | str) -> None:
    """Futures have other symbols, other rules for their numbers and other sizes under the same names."""
    if not isinstance(message, dict):
        return
    event = message.get("e")
    if "lastUpdateId" in message:
        found = [name for name in ("E", "T", "pair") if name in message]
    elif event in _FUTURES_EVENTS:
        found = ["e"]
    else:
        found = [name for name in _FUTURES_FIELDS.get(str(event), ()) if name in message]
    if found:
        raise FeedError(
            f"a message of Binance's futures (it has {found[0]!r}), but this handler publishes Binance spot: {_excerpt(text)}"
        )


def _excerpt(text: bytes | str) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    return shown if len(shown) <= 200 else shown[:200] + "…"
