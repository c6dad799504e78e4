"""Live: one connection with the combined streams of all symbols, and the REST API for what the streams lack."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from urllib.parse import quote

from mdstream.errors import FeedError
from mdstream.feed import Publisher
from mdstream.feeds._garbled import Garbled
from mdstream.feeds._progress import ProgressWatch
from mdstream.feeds._published import PublishedInstrument
from mdstream.feeds._venue import Backoff, Link
from mdstream.feeds._websocket import Connection, VenueUnavailable
from mdstream.feeds.binance.book import MEND_BASE_S, SymbolBook
from mdstream.feeds.binance.events import DepthDiff, ServerShutdown, Trade, hint, parse
from mdstream.feeds.binance.rest import (
    DEPTH_LIMIT,
    GONE,
    SYMBOLS_PER_REQUEST,
    RestApi,
    SymbolInfo,
    UnknownSymbol,
)

log = logging.getLogger("mdstream.feeds.binance")

STREAM_URL = "wss://stream.binance.com:9443"
REST_URL = "https://api.binance.com"
MAX_AGE_S = 23.5 * 3600
"""The venue ends every connection after 24 hours."""
MAX_SYMBOLS = 512
"""A connection carries 1,024 streams, and a symbol needs two."""
INFO_INTERVAL_S = 10.0
"""How often the symbols' states are asked for."""
CHECK_INTERVAL_S = 1.0
QUIET_S = 5.0
"""A symbol of which no diff comes for so long after the connection opened is quiet: a snapshot alone is its book."""
UNHEARD_S = 10.0
"""A symbol about which the venue has said nothing for so long is asked about."""


class Live:
    """Gives each event to its symbol's book, and watches that events come."""

    def __init__(
        self,
        publisher: Publisher,
        symbols: list[str],
        *,
        stream_url: str = STREAM_URL,
        rest_url: str = REST_URL,
        depth: int = DEPTH_LIMIT,
        max_age_s: float = MAX_AGE_S,
        overlap_s: float = 2.0,
        backoff: Backoff | None = None,
        mend_base_s: float = MEND_BASE_S,
        info_interval_s: float = INFO_INTERVAL_S,
        watch: ProgressWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.books: dict[str, SymbolBook] = {}
        self.garbled = Garbled(clock)
        self._suspects: set[str] = set()
        """Symbols of which a message could not be understood, until the venue has told that nothing is missing."""
        self._publisher = publisher
        self._symbols = list(dict.fromkeys(symbols))
        self._rest = RestApi(rest_url)
        self._depth = depth
        self._mend_base_s = mend_base_s
        # Many symbols take several requests: those count for the budget too.
        self._info_interval_s = info_interval_s * -(-len(self._symbols) // SYMBOLS_PER_REQUEST)
        self._info_wanted = asyncio.Event()
        self._clock = clock
        self._watch = watch or ProgressWatch(clock=clock)
        self._vouched_at = clock()
        self._connection: Connection | None = None
        self._check: asyncio.Task[None] | None = None
        self._backoff = backoff or Backoff()
        self._link = Link(
            self._url(stream_url), self, max_age_s=max_age_s, overlap_s=overlap_s, backoff=self._backoff
        )

    def _url(self, base: str) -> str:
        streams = "/".join(
            f"{symbol.lower()}@{stream}" for symbol in self._symbols for stream in ("depth@100ms", "trade")
        )
        return f"{base.rstrip('/')}/stream?streams={quote(streams, safe='/@')}"

    async def run(self) -> None:
        """Runs until cancelled. Raises UnknownSymbol; FeedError if the venue's answers cannot be understood."""
        infos = await self._first_infos()
        for symbol in self._symbols:
            await self._open(infos[symbol])
        try:
            async with asyncio.TaskGroup() as group:
                for part in (self._link.run, self._follow_infos, self._follow_progress):
                    group.create_task(part())
        finally:
            if self._check is not None:
                self._check.cancel()
            for book in self.books.values():
                book.stop()

    async def _open(self, info: SymbolInfo) -> None:
        published = PublishedInstrument(self._publisher, info.symbol, info.scale, depth=self._depth)
        published.up = info.state
        await published.open()
        self.books[info.symbol] = SymbolBook(
            published, self._rest, info, limit=self._depth, mend_base_s=self._mend_base_s, clock=self._clock
        )

    # ---- what the venue knows of the symbols

    async def _first_infos(self) -> dict[str, SymbolInfo]:
        while True:
            try:
                infos = await self._rest.symbols(self._symbols)
            except VenueUnavailable as error:
                # What the venue asks us to wait is waited for before the next request is made.
                delay_s = self._backoff.next_s()
                log.warning("%s; next try in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
            else:
                self._backoff.reset()
                return infos

    async def _follow_infos(self) -> None:
        """Reads the symbols' states and increments again and again, and after each new connection."""
        while True:
            try:
                async with asyncio.timeout(self._info_interval_s):
                    await self._info_wanted.wait()
            except TimeoutError:
                pass
            self._info_wanted.clear()
            try:
                await self._read_infos()
            except FeedError as error:
                log.warning("%s", error)

    async def _read_infos(self) -> None:
        known = [symbol for symbol, book in self.books.items() if book.info.status != GONE]
        try:
            infos = await self._rest.symbols(known)
        except UnknownSymbol:
            await self._read_each_info(known)
        else:
            for symbol in known:
                self.books[symbol].on_info(infos[symbol])

    async def _read_each_info(self, symbols: list[str]) -> None:
        """A symbol has gone, and the venue does not say which: the others must not be without news because of it."""
        for symbol in symbols:
            try:
                self.books[symbol].on_info((await self._rest.symbols([symbol]))[symbol])
            except UnknownSymbol:
                self.books[symbol].on_gone()

    # ---- the connection

    def on_open(self, connection: Connection) -> None:
        """Nothing to send: the URL names the streams."""
        if self._connection is None:
            self._watch.opened(self._symbols)
        self._connection = connection
        self._info_wanted.set()

    def on_message(self, message: bytes) -> None:
        try:
            event = parse(message)
        except FeedError as error:
            self._on_garbled(message, error)
            return
        if isinstance(event, ServerShutdown):
            self._link.renew()
        elif isinstance(event, DepthDiff | Trade):
            book = self.books.get(event.symbol)
            if book is not None:
                self._on_event(book, event)

    def _on_garbled(self, message: bytes, error: FeedError) -> None:
        """Costs this message, and what it was about. Raises FeedError if there are too many.

        The venue's numbers tell what is missing as soon as the next message of a symbol comes. Until then REST tells.
        """
        self.garbled.note(error)
        about = hint(message)
        self._suspects.update(self.books if about is None else self.books.keys() & {about})

    def _on_event(self, book: SymbolBook, event: DepthDiff | Trade) -> None:
        """Only what is new is a sign of life: a connection that stands still can repeat what it has sent."""
        if isinstance(event, DepthDiff):
            if not book.on_diff(event):
                return
            self._watch.note(event.symbol)
            self._suspects.discard(event.symbol)
        elif book.on_trade(event):
            # Trades may go on while the diffs have stopped.
            self._watch.note(None)
        else:
            return
        if self._clock() - self._vouched_at >= CHECK_INTERVAL_S:
            self._vouch()

    def on_lost(self, reason: str) -> None:
        self._connection = None
        self._suspects.clear()
        for book in self.books.values():
            book.on_lost(reason)

    # ---- quiet or dead

    def _vouch(self) -> None:
        """Data has come on the connection: the venue is heard also for those symbols that are quiet, but not for longer than is usual."""
        self._vouched_at = self._clock()
        overdue = self._watch.overdue()
        for symbol, book in self.books.items():
            if book.live and symbol not in overdue:
                book.heard()

    async def _follow_progress(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            if self._connection is not None:
                self._check_progress()

    def _check_progress(self) -> None:
        """Renews a dead connection. Asks about what is silent without being dead for certain."""
        overdue = self._watch.check()
        if overdue.connection and self._watch.lively() and self._any_trades():
            self._give_up(f"the venue has sent nothing for {self._watch.silence_s():.0f} s")
            return
        doubtful = [
            book for symbol, book in self.books.items() if self._doubtful(symbol, book, overdue.instruments)
        ]
        if doubtful and (self._check is None or self._check.done()):
            self._check = asyncio.create_task(self._ask_about(doubtful))
        for symbol, book in self.books.items():
            if self._watch.silence_s(symbol) >= QUIET_S:
                book.on_quiet()

    def _any_trades(self) -> bool:
        return any(book.info.trades for book in self.books.values())

    def _doubtful(self, symbol: str, book: SymbolBook, overdue: tuple[str, ...]) -> bool:
        if symbol in self._suspects:
            return book.live
        return book.live and book.info.trades and (symbol in overdue or book.unheard_s >= UNHEARD_S)

    async def _ask_about(self, books: list[SymbolBook]) -> None:
        for book in books:
            symbol = book.published.symbol
            try:
                agrees = await book.agrees()
            except FeedError as error:
                log.warning("%s", error)
                continue
            if agrees is None:
                continue
            if not agrees and symbol in self._suspects:
                book.doubt("a message of the venue could not be understood")
            elif not agrees:
                self._give_up(f"the venue's stream of {symbol} stands still, its REST API goes on", book)
                return
            else:
                self._watch.excuse(symbol)
                book.heard()
            self._suspects.discard(symbol)

    def _give_up(self, reason: str, dead: SymbolBook | None = None) -> None:
        """Ends the connection, so that another is made. What was lively stays ``feed_down`` until something new comes."""
        for symbol, book in self.books.items():
            if book is dead or (dead is None and book.info.trades and self._watch.lively(symbol)):
                book.freeze(reason)
        if self._connection is not None:
            log.warning("%s; connecting again", reason)
            self._connection.close(reason)
