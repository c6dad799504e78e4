"""The venue's REST API: snapshots, symbols and past trades, which the streams lack.

Source: Binance spot API, "Market Data endpoints", "Limits" and "HTTP Return Codes".
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPException
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import msgspec

from mdstream.errors import FeedError
from mdstream.feeds._lines import exact_exponent
from mdstream.feeds._published import Scale
from mdstream.feeds._venue import Backoff
from mdstream.feeds._websocket import VenueUnavailable
from mdstream.feeds.binance.budget import Rank, Turns, WeightBudget
from mdstream.feeds.binance.events import DepthSnapshot, Trade, parse

TIMEOUT_S = 10.0
DEADLINE_S = 20.0
"""For the whole answer."""
DEPTH_WEIGHTS = {100: 5, 500: 25, 1000: 50, 5000: 250}
"""What a snapshot of so many levels a side weighs."""
DEPTH_LIMIT = 5000
"""The most levels a side that the venue gives."""
INFO_WEIGHT = 20
TRADES_WEIGHT = 25
TRADES_LIMIT = 1000
SYMBOLS_PER_REQUEST = 100
"""More make the URL longer than servers like."""
BAN_S = 120.0
"""How long we wait after 418 or 403 if the venue does not tell: its shortest ban."""
GONE = "gone"
"""Our word for the status of a symbol that the venue no longer knows."""
_REFUSALS = (403, 418, 429)

_T = TypeVar("_T")


class UnknownSymbol(FeedError):
    """The venue does not know a symbol."""


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """A symbol's increments and whether it trades."""

    symbol: str
    tick_size: str
    step_size: str
    status: str

    @property
    def price_exp(self) -> int:
        return exact_exponent([self.tick_size])

    @property
    def size_exp(self) -> int:
        return exact_exponent([self.step_size])

    @property
    def tick(self) -> int:
        return max(int(Decimal(self.tick_size).scaleb(-self.price_exp)), 1)

    @property
    def lot(self) -> int:
        return max(int(Decimal(self.step_size).scaleb(-self.size_exp)), 1)

    @property
    def scale(self) -> Scale:
        return Scale(self.price_exp, self.size_exp, self.tick, self.lot)

    @property
    def trades(self) -> bool:
        return self.status == "TRADING"

    @property
    def state(self) -> tuple[str, str]:
        """The state, with its reason, to publish while the book is complete."""
        if self.status == GONE:
            return "closed", "the venue no longer lists the symbol"
        return ("trading", "") if self.trades else ("halted", f"the venue's status is {self.status}")


class _Filter(msgspec.Struct):
    kind: str = msgspec.field(name="filterType")
    tick_size: str = msgspec.field(name="tickSize", default="")
    step_size: str = msgspec.field(name="stepSize", default="")


class _Entry(msgspec.Struct):
    symbol: str
    status: str
    filters: list[_Filter]

    def info(self) -> SymbolInfo:
        filters = {each.kind: each for each in self.filters}
        price, size = filters["PRICE_FILTER"].tick_size, filters["LOT_SIZE"].step_size
        exact_exponent([price, size])
        return SymbolInfo(self.symbol, price, size, self.status)


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Entry]


class _PastTrade(msgspec.Struct):
    trade_id: int = msgspec.field(name="id")
    price: str
    size: str = msgspec.field(name="qty")
    ts: int = msgspec.field(name="time")
    buyer_is_maker: bool = msgspec.field(name="isBuyerMaker")

    def of(self, symbol: str) -> Trade:
        return Trade(symbol, self.ts, self.trade_id, self.price, self.size, self.buyer_is_maker)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the venue answered: a body of 200, or what is said with another code."""

    code: int
    body: bytes
    retry_after_s: float | None = None
    used_weight: float | None = None
    """Of this minute, by the venue's count."""


Fetch = Callable[[str], Awaitable[Answer]]


class RestApi:
    """Makes few requests; for that the standard library in a thread is enough.

    All requests of the process go through one ``RestApi``: they share the budget, and none is made while the venue refuses us.
    """

    def __init__(self, base_url: str, *, turns: Turns | None = None, fetch: Fetch | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._turns = turns or Turns(WeightBudget())
        self._fetch = fetch or _fetch
        self._refusals = Backoff(base_s=2.0, cap_s=60.0)

    async def depth(
        self, symbol: str, limit: int = DEPTH_LIMIT, rank: Rank = Rank.LOST_BOOK
    ) -> DepthSnapshot:
        """A snapshot of a symbol's book. Raises VenueUnavailable, FeedError."""
        query = {"symbol": symbol, "limit": str(limit)}
        answer = await self._get("/api/v3/depth", query, DEPTH_WEIGHTS[limit], rank)
        event = parse(answer)
        if not isinstance(event, DepthSnapshot):
            raise FeedError(f"{self._base_url}/api/v3/depth did not answer with a snapshot: {answer[:200]!r}")
        return event

    async def symbols(self, symbols: list[str]) -> dict[str, SymbolInfo]:
        """What the venue knows of each symbol. Raises UnknownSymbol, VenueUnavailable, FeedError."""
        infos: dict[str, SymbolInfo] = {}
        for start in range(0, len(symbols), SYMBOLS_PER_REQUEST):
            infos |= await self._symbols(symbols[start : start + SYMBOLS_PER_REQUEST])
        missing = [symbol for symbol in symbols if symbol not in infos]
        if missing:
            raise UnknownSymbol(f"Binance knows no symbol {', '.join(missing)}")
        return infos

    async def _symbols(self, symbols: list[str]) -> dict[str, SymbolInfo]:
        path = "/api/v3/exchangeInfo"
        query = {"symbols": json.dumps(symbols, separators=(",", ":"), ensure_ascii=False)}
        known = self._read(path, await self._get(path, query, INFO_WEIGHT, Rank.INFO), _ExchangeInfo)
        try:
            return {entry.symbol: entry.info() for entry in known.symbols}
        except (KeyError, FeedError) as error:
            raise FeedError(f"{self._base_url}{path} cannot be read: {error!r}") from None

    async def trades(self, symbol: str, ids: range) -> list[Trade]:
        """The trades with these ids, as many as one answer holds, and perhaps later ones. Raises VenueUnavailable, FeedError."""
        path = "/api/v3/historicalTrades"
        # One more tells where the ids go on, if those we ask for were never given.
        limit = min(len(ids) + 1, TRADES_LIMIT)
        query = {"symbol": symbol, "fromId": str(ids.start), "limit": str(limit)}
        answer = await self._get(path, query, TRADES_WEIGHT, Rank.TRADES)
        return [past.of(symbol) for past in self._read(path, answer, list[_PastTrade])]

    def _read(self, path: str, answer: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FeedError(f"{self._base_url}{path} cannot be read: {error}") from None

    async def _get(self, path: str, query: dict[str, str], weight: int, rank: Rank) -> bytes:
        url = f"{self._base_url}{path}?{urlencode(query)}"
        async with self._turns.turn(weight, rank):
            answer = await self._fetch(url)
            self._heed(answer)
        return _body(url, answer)

    def _heed(self, answer: Answer) -> None:
        """What an answer says about the requests that follow it."""
        budget = self._turns.budget
        if answer.used_weight is not None:
            budget.tell_used(answer.used_weight)
        if answer.code not in _REFUSALS:
            self._refusals.reset()
        elif answer.retry_after_s is not None:
            budget.hold(answer.retry_after_s)
        else:
            budget.hold(self._refusals.next_s() + (1.0 if answer.code == 429 else BAN_S))


def _body(url: str, answer: Answer) -> bytes:
    if answer.code == 200:
        return answer.body
    said = answer.body[:500].decode(errors="replace")
    if answer.code in _REFUSALS or answer.code >= 500:
        raise VenueUnavailable(f"{url}: {answer.code} {said}", retry_after_s=answer.retry_after_s)
    if answer.code == 400 and "-1121" in said:
        raise UnknownSymbol(f"Binance knows no such symbol: {url}")
    raise FeedError(f"{url}: {answer.code} {said}")


async def _fetch(url: str) -> Answer:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.to_thread(_fetch_now, url)
    except TimeoutError:
        raise VenueUnavailable(f"{url} does not answer within {DEADLINE_S:g} s") from None


def _fetch_now(url: str) -> Answer:
    try:
        return _ask(url)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise VenueUnavailable(f"{url} cannot be reached: {reason or type(error).__name__}") from None


def _ask(url: str) -> Answer:
    try:
        with urlopen(Request(url, headers={"Accept": "application/json"}), timeout=TIMEOUT_S) as response:
            used = _number(response.headers.get("X-MBX-USED-WEIGHT-1M"))
            return Answer(response.status, response.read(), used_weight=used)
    except HTTPError as error:
        used = _number(error.headers.get("X-MBX-USED-WEIGHT-1M"))
        return Answer(error.code, error.read(500), _number(error.headers.get("Retry-After")), used)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None
