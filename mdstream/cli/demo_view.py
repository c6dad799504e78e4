"""The lines of the demo: one per second about its instruments, as a client sees them."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from mdstream.cli.demo_gateway import DemoGateway
from mdstream.cli.ladder import state_text
from mdstream.client import Book, Client, SubscriptionRefused, Ticker, Trades
from mdstream.client.book import Quote
from mdstream.codes import ErrorCode
from mdstream.errors import MdstreamError
from mdstream.printable import printable

PERIOD_S = 1.0
OPEN_DEADLINE_S = 30.0
RETRY_S = 0.1
DEPTH = 10
NOT_YET = (ErrorCode.UNKNOWN_INSTRUMENT, ErrorCode.UNAVAILABLE)

T = TypeVar("T")


class DemoView:
    """What one client gets: book, trades and ticker of the first instrument, the tickers of the others."""

    def __init__(self, client: Client, gateway: DemoGateway) -> None:
        self._client = client
        self._gateway = gateway
        self._tickers: list[Ticker] = []
        self._updates = 0
        self._counted_at = 0.0

    async def open(self, instruments: list[str]) -> None:
        """Subscribes as soon as the instruments are announced. Raises MdstreamError if they are not in time."""
        first, *others = instruments
        try:
            async with asyncio.timeout(OPEN_DEADLINE_S):
                self._book: Book = await _announced(partial(self._client.book, first, depth=DEPTH))
                self._trades: Trades = await self._client.trades(first)
                self._last: Ticker = await self._client.ticker(first)
                for name in others:
                    self._tickers.append(await _announced(partial(self._client.ticker, name)))
        except TimeoutError:
            raise MdstreamError(
                f"the simulated market did not announce {', '.join(instruments)} within {OPEN_DEADLINE_S:g} s"
            ) from None

    async def print_lines(self) -> None:
        """Prints a line per second until cancelled."""
        self._count()
        while True:
            await asyncio.sleep(PERIOD_S)
            print(self.line(_width()), flush=True)

    def line(self, width: int) -> str:
        """The instruments now; parts that do not fit into the width are left out."""
        book = self._book
        parts = [
            f"{datetime.now(UTC):%H:%M:%S} {book.instrument} {state_text(book, asyncio.get_running_loop().time())}",
            f"bid {_quote(book.best_bid)} ask {_quote(book.best_ask)}",
            f"seq {book.seq}",
            f"{self._count():,.0f} updates/s",
            f"latency {_latency(self._client)}",
            f"clients {self._gateway.clients}",
            f"last {_price(self._last.last)}, trade {self._trades.seq or '-'}",
            *(
                f"{ticker.instrument.partition(':')[2]} {_price(ticker.bid)}/{_price(ticker.ask)}"
                for ticker in self._tickers
            ),
        ]
        shown = parts[0]
        for part in parts[1:]:
            if len(shown) + 3 + len(part) < width:
                shown += f" | {part}"
        return printable(shown)

    def _count(self) -> float:
        """Data messages per second since the last call."""
        now, updates = asyncio.get_running_loop().time(), self._client.stats.updates
        elapsed_s, count = now - self._counted_at, updates - self._updates
        self._counted_at, self._updates = now, updates
        return count / elapsed_s if elapsed_s > 0 else 0.0


async def _announced(subscribe: Callable[[], Awaitable[T]]) -> T:
    """Subscribes again and again until the instrument exists."""
    while True:
        try:
            return await subscribe()
        except SubscriptionRefused as error:
            if error.code not in NOT_YET:
                raise
        await asyncio.sleep(RETRY_S)


def _width() -> int:
    """The columns of the terminal; without one a line may have any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def _quote(quote: Quote | None) -> str:
    return "-" if quote is None else f"{quote[0]:f} x {quote[1]:f}"


def _price(quote: Quote | None) -> str:
    return "-" if quote is None else f"{quote[0]:f}"


def _latency(client: Client) -> str:
    latency_ms = client.stats.latency_avg_ms
    return "-" if latency_ms is None else f"{latency_ms:.1f} ms"
