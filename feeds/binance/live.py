"""Live: one connection with the combined streams of all symbols, and a snapshot for each symbol."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from urllib.parse import quote

from mdstream.feed import Publisher
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds._venue import Backoff, Link
from mdstream.feeds._websocket import Connection, VenueUnavailable
from mdstream.feeds.binance.book import SymbolBook
from mdstream.feeds.binance.events import DepthDiff, ServerShutdown, Trade, parse
from mdstream.feeds.binance.rest import RestApi, SymbolInfo

log = logging.getLogger("mdstream.feeds.binance")

STREAM_URL = "wss://stream.binance.com:9443"
REST_URL = "https://api.binance.com"
MAX_AGE_S = 23.5 * 3600
"""The venue ends every connection after 24 hours."""


class Live:
    """Gives each event to its symbol's book."""

    def __init__(
        self,
        publisher: Publisher,
        symbols: list[str],
        *,
        stream_url: str = STREAM_URL,
        rest_url: str = REST_URL,
        max_age_s: float = MAX_AGE_S,
        overlap_s: float = 2.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.books: dict[str, SymbolBook] = {}
        self._publisher = publisher
        self._symbols = symbols
        self._rest = RestApi(rest_url)
        streams = "/".join(
            f"{symbol.lower()}@{stream}" for symbol in symbols for stream in ("depth@100ms", "trade")
        )
        url = f"{stream_url.rstrip('/')}/stream?streams={quote(streams, safe='/@')}"
        self._backoff = backoff or Backoff()
        self._link = Link(url, self, max_age_s=max_age_s, overlap_s=overlap_s, backoff=self._backoff)

    async def run(self) -> None:
        """Runs until cancelled. Raises UnknownSymbol; FeedError if the venue's answers cannot be understood."""
        infos = await self._infos()
        for symbol in self._symbols:
            info = infos[symbol]
            scale = Scale(info.price_exp, info.size_exp, info.tick, info.lot)
            published = PublishedInstrument(self._publisher, symbol, scale)
            if info.status != "TRADING":
                published.up = ("halted", f"the venue's status is {info.status}")
            await published.open()
            self.books[symbol] = SymbolBook(published, partial(self._rest.depth, symbol))
        try:
            await self._link.run()
        finally:
            for book in self.books.values():
                book.stop()

    async def _infos(self) -> dict[str, SymbolInfo]:
        while True:
            try:
                infos = await self._rest.symbols(self._symbols)
            except VenueUnavailable as error:
                delay_s = self._backoff.next_s() if error.retry_after_s is None else error.retry_after_s
                log.warning("%s; next try in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                self._backoff.reset()
                return infos

    def on_open(self, connection: Connection) -> None:
        """Nothing to send: the URL names the streams."""

    def on_message(self, message: bytes) -> None:
        event = parse(message)
        if isinstance(event, ServerShutdown):
            self._link.renew()
        elif isinstance(event, DepthDiff | Trade):
            book = self.books.get(event.symbol)
            if book is None:
                return
            if isinstance(event, DepthDiff):
                book.on_diff(event)
            else:
                book.on_trade(event)

    def on_lost(self, reason: str) -> None:
        for book in self.books.values():
            book.on_lost(reason)
