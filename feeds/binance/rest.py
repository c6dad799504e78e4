"""The venue's REST API: snapshots and symbols, which the streams lack. Source: Binance spot API, "Market Data endpoints"."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from mdstream.errors import FeedError
from mdstream.feeds._lines import exact_exponent
from mdstream.feeds._websocket import VenueUnavailable
from mdstream.feeds.binance.events import DepthSnapshot, parse

TIMEOUT_S = 10.0
DEPTH_LIMIT = 5000
"""The most levels per side that the venue gives."""
_BACK_OFF = (418, 429)


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


class RestApi:
    """Makes a few requests a day; for that the standard library in a thread is enough."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")

    async def depth(self, symbol: str, limit: int = DEPTH_LIMIT) -> DepthSnapshot:
        """A snapshot of a symbol's book. Raises VenueUnavailable, FeedError."""
        answer = await self._get("/api/v3/depth", {"symbol": symbol, "limit": str(limit)})
        event = parse(answer)
        if not isinstance(event, DepthSnapshot):
            raise FeedError(f"{self._base_url}/api/v3/depth did not answer with a snapshot: {answer[:200]!r}")
        return event

    async def symbols(self, symbols: list[str]) -> dict[str, SymbolInfo]:
        """What the venue knows of each symbol. Raises UnknownSymbol, VenueUnavailable, FeedError."""
        answer = await self._get(
            "/api/v3/exchangeInfo", {"symbols": json.dumps(symbols, separators=(",", ":"))}
        )
        try:
            infos = {str(entry["symbol"]): _info(entry) for entry in json.loads(answer)["symbols"]}
        except (ValueError, KeyError, TypeError) as error:
            raise FeedError(f"{self._base_url}/api/v3/exchangeInfo cannot be read: {error!r}") from None
        missing = [symbol for symbol in symbols if symbol not in infos]
        if missing:
            raise UnknownSymbol(f"Binance knows no symbol {', '.join(missing)}")
        return infos

    async def _get(self, path: str, query: dict[str, str]) -> bytes:
        url = f"{self._base_url}{path}?{urlencode(query)}"
        return await asyncio.to_thread(_fetch, url)


def _info(entry: dict[str, Any]) -> SymbolInfo:
    filters = {each["filterType"]: each for each in entry["filters"]}
    return SymbolInfo(
        str(entry["symbol"]),
        str(filters["PRICE_FILTER"]["tickSize"]),
        str(filters["LOT_SIZE"]["stepSize"]),
        str(entry["status"]),
    )


def _fetch(url: str) -> bytes:
    try:
        with urlopen(Request(url, headers={"Accept": "application/json"}), timeout=TIMEOUT_S) as response:
            answer: bytes = response.read()
            return answer
    except HTTPError as error:
        said = error.read(500).decode(errors="replace")
        if error.code in _BACK_OFF or error.code >= 500:
            raise VenueUnavailable(
                f"{url}: {error.code} {said}", retry_after_s=_retry_after_s(error)
            ) from None
        if error.code == 400 and "-1121" in said:
            raise UnknownSymbol(f"Binance knows no such symbol: {url}") from None
        raise FeedError(f"{url}: {error.code} {said}") from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise VenueUnavailable(f"{url} cannot be reached: {reason}") from None


def _retry_after_s(error: HTTPError) -> float | None:
    value = error.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
