"""The venue's messages, in one typed form for both versions of its API.

Sources: Kraken "WebSocket API v1: Public: Book, Trade" (arrays whose first element is a channel number) and
"WebSocket API v2: Public: Book, Trade, Instrument" (objects whose numbers are JSON numbers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from mdstream.errors import FeedError
from mdstream.feeds.kraken.book import Precision, VenueLevel


@dataclass(frozen=True, slots=True)
class BookMessage:
    """A snapshot or an update of one pair's book; ``checksum`` is None in v1 snapshots."""

    pair: str
    snapshot: bool
    bids: list[VenueLevel]
    asks: list[VenueLevel]
    checksum: int | None
    ts_us: int
    depth: int | None = None
    """The subscribed depth, if the message has it (v1)."""


@dataclass(frozen=True, slots=True)
class TradeMessage:
    pair: str
    price: str
    size: str
    side: Literal["buy", "sell"]
    ts_us: int
    trade_id: int | None = None
    snapshot: bool = field(default=False, compare=False)
    """One of the recent trades that the venue sends after a subscribe; we may have it already."""


@dataclass(frozen=True, slots=True)
class PairInfo:
    """One pair in the instrument channel (v2). ``precision`` is the checksum's."""

    pair: str
    precision: Precision
    price_increment: str
    size_increment: str
    status: str
    snapshot: bool = field(default=False, compare=False)
    """One of all pairs that the venue has, not of those that changed."""


@dataclass(frozen=True, slots=True)
class NoPairs:
    """The instrument channel lists no pair at all."""


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """The state of the venue's matching engine (v2 ``status``)."""

    system: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The venue's answer to a request (v2). A refusal may lack the symbol, the channel, or both."""

    success: bool
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    method: str = "subscribe"
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a message that cannot be understood seems to be about; None where that cannot be told."""

    channel: str | None
    pair: str | None


_CHANNEL = re.compile(rb'"channel"\s*:\s*"(\w+)"')
_SYMBOL = re.compile(rb'"symbol"\s*:\s*"([^"]+)"')

Event = BookMessage | TradeMessage | PairInfo | NoPairs | SystemStatus | Answer


def parse(text: str | bytes) -> list[Event]:
    """The events of one message of either version; none for heartbeats and unknown channels.

    Raises FeedError if it does not have the venue's format.
    """
    try:
        # Texts, not floats: 5e-05 and 0.042990 must stay as they are.
        message = json.loads(text, parse_float=str, parse_int=str)
        if isinstance(message, list):
            return _parse_v1(message)
        if isinstance(message, dict):
            return _parse_v2(message)
        raise ValueError("neither an array nor an object")
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        shown = text.decode(errors="replace") if isinstance(text, bytes) else text
        raise FeedError(f"not a Kraken message: {type(error).__name__}: {error}: {shown[:200]}") from None


def hint(text: bytes) -> Hint:
    """What a message of version 2 that ``parse`` refuses seems to be about."""
    channel, pairs = _CHANNEL.search(text), set(_SYMBOL.findall(text))
    pair = pairs.pop().decode(errors="replace").replace("\\/", "/") if len(pairs) == 1 else None
    return Hint(channel[1].decode() if channel else None, pair)


def _parse_v1(message: list[Any]) -> list[Event]:
    channel, pair = str(message[-2]), str(message[-1])
    if channel.startswith("book"):
        return [_book_v1(message[1:-2], channel, pair)]
    if channel == "trade":
        return [_trade_v1(entry, pair) for entry in message[1]]
    return []


def _book_v1(parts: list[dict[str, Any]], channel: str, pair: str) -> BookMessage:
    """An update of both sides has two objects, with the checksum in the last."""
    sides: dict[str, list[VenueLevel]] = {"b": [], "a": []}
    checksum: int | None = None
    newest = Decimal(0)
    for part in parts:
        for key in ("b", "a", "bs", "as"):
            for entry in part.get(key, ()):
                sides[key[0]].append((str(entry[0]), str(entry[1])))
                newest = max(newest, Decimal(entry[2]))
        checksum = int(part["c"]) if "c" in part else checksum
    snapshot = any("as" in part or "bs" in part for part in parts)
    depth = int(channel.partition("-")[2] or 10)
    return BookMessage(pair, snapshot, sides["b"], sides["a"], checksum, int(newest * 1_000_000), depth)


def _trade_v1(entry: list[Any], pair: str) -> TradeMessage:
    price, size, time, side = entry[:4]
    return TradeMessage(
        pair, str(price), str(size), "buy" if side == "b" else "sell", int(Decimal(time) * 1_000_000)
    )


def _parse_v2(message: dict[str, Any]) -> list[Event]:
    if "success" in message:
        return [_answer(message)]
    channel, snapshot = message.get("channel"), message.get("type") == "snapshot"
    if channel == "book":
        return [_book_v2(entry, snapshot) for entry in message["data"]]
    if channel == "trade":
        return [_trade_v2(entry, snapshot) for entry in message["data"]]
    if channel == "status":
        return [SystemStatus(str(entry["system"])) for entry in message.get("data", ()) if "system" in entry]
    if channel == "instrument":
        return _pairs_v2(message["data"].get("pairs", ()), snapshot)
    return []


def _pairs_v2(entries: Sequence[dict[str, Any]], snapshot: bool) -> list[Event]:
    if snapshot and not entries:
        return [NoPairs()]
    return [_pair_v2(entry, snapshot) for entry in entries]


def _answer(message: dict[str, Any]) -> Answer:
    result = message.get("result") or {}
    return Answer(
        bool(message["success"]),
        str(message.get("error", "")),
        result,
        str(message.get("method", "subscribe")),
        str(message.get("symbol") or result.get("symbol") or ""),
    )


def _book_v2(entry: dict[str, Any], snapshot: bool) -> BookMessage:
    bids = [(_plain(level["price"]), _plain(level["qty"])) for level in entry.get("bids", ())]
    asks = [(_plain(level["price"]), _plain(level["qty"])) for level in entry.get("asks", ())]
    ts_us = _rfc3339_us(entry["timestamp"]) if "timestamp" in entry else 0
    return BookMessage(str(entry["symbol"]), snapshot, bids, asks, int(entry["checksum"]), ts_us)


def _trade_v2(entry: dict[str, Any], snapshot: bool) -> TradeMessage:
    return TradeMessage(
        str(entry["symbol"]),
        _plain(entry["price"]),
        _plain(entry["qty"]),
        "buy" if entry["side"] == "buy" else "sell",
        _rfc3339_us(entry["timestamp"]),
        int(entry["trade_id"]),
        snapshot,
    )


def _pair_v2(entry: dict[str, Any], snapshot: bool) -> PairInfo:
    return PairInfo(
        str(entry["symbol"]),
        Precision(int(entry["price_precision"]), int(entry["qty_precision"])),
        _plain(entry["price_increment"]),
        _plain(entry["qty_increment"]),
        str(entry.get("status", "online")),
        snapshot,
    )


def _plain(number: str) -> str:
    """A JSON number without an exponent: 5e-05 is 0.00005."""
    return f"{Decimal(number):f}" if "e" in number or "E" in number else number


def _rfc3339_us(text: str) -> int:
    """µs since the epoch; the venue sends up to nine decimals of a second, ``datetime`` takes six."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = datetime.fromisoformat(f"{whole}+00:00")
    return int(seconds.timestamp()) * 1_000_000 + int(f"{fraction:0<6}"[:6])
