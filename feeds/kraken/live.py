"""Live: version 2 of the API, one connection for all pairs.

We subscribe to the instrument channel first, because the checksum needs each pair's decimals; then to books and trades.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from mdstream.errors import BusError, FeedError
from mdstream.feed import Publisher
from mdstream.feeds._published import PublishedInstrument
from mdstream.feeds._venue import Backoff, Link
from mdstream.feeds._websocket import Connection
from mdstream.feeds.kraken.events import Answer, BookMessage, Event, PairInfo, TradeMessage, parse
from mdstream.feeds.kraken.pair import Pair, scale_of, state_of

log = logging.getLogger("mdstream.feeds.kraken")

URL = "wss://ws.kraken.com/v2"


class UnknownPair(FeedError):
    """The venue does not know a pair."""


class Live:
    """Gets the pairs' data, then gives each event to its pair."""

    def __init__(
        self,
        publisher: Publisher,
        names: Sequence[str],
        *,
        depth: int = 100,
        url: str = URL,
        backoff: Backoff | None = None,
    ) -> None:
        self.pairs: dict[str, Pair] = {}
        self._publisher = publisher
        self._names = list(names)
        self._depth = depth
        self._infos: dict[str, PairInfo] = {}
        self._backoff = backoff or Backoff()
        self._link = Link(url, self, backoff=self._backoff)
        self._connection: Connection | None = None
        self._subscribed = False
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until cancelled. Raises UnknownPair."""
        link = asyncio.create_task(self._link.run())
        try:
            either: set[asyncio.Future[Any]] = {link, self._fatal}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for done in either:
                if done.done():
                    done.result()
        finally:
            for task in (link, *self._tasks):
                task.cancel()
            await asyncio.gather(link, *self._tasks, return_exceptions=True)

    # ---- the connection

    def on_open(self, connection: Connection) -> None:
        self._connection = connection
        self._subscribed = False
        self._infos.clear()
        self._send("subscribe", channel="instrument", snapshot=True)

    def on_message(self, message: bytes) -> None:
        events = parse(message)
        for event in events:
            self._on_event(event)
        if any(isinstance(event, PairInfo) for event in events):
            self._on_infos()

    def on_lost(self, reason: str) -> None:
        self._connection = None
        for pair in self.pairs.values():
            pair.on_lost(reason)

    def _on_event(self, event: Event) -> None:
        match event:
            case PairInfo() if event.pair in self._names:
                self._on_info(event)
            case BookMessage() if event.pair in self.pairs:
                pair = self.pairs[event.pair]
                wanted = pair.wants_snapshot
                pair.on_book(event)
                if pair.wants_snapshot and not wanted:
                    self._spawn(self._resubscribe(pair))
            case TradeMessage() if event.pair in self.pairs:
                self.pairs[event.pair].on_trade(event)
            case Answer() if not event.success:
                log.error("the venue refused a request: %s", event.error)

    # ---- the pairs' data

    def _on_info(self, info: PairInfo) -> None:
        former = self._infos.get(info.pair)
        self._infos[info.pair] = info
        pair = self.pairs.get(info.pair)
        if pair is None or former is None:
            return
        pair.published.up = state_of(info)
        if info.precision != former.precision and self._connection is not None:
            # Every number of the pair changes its meaning: start over with a new connection.
            self._connection.close(f"{info.pair}: the venue changed its decimals")
        elif pair.sync.live:
            pair.published.show()

    def _on_infos(self) -> None:
        missing = [name for name in self._names if name not in self._infos]
        if missing:
            if not self._fatal.done():
                self._fatal.set_exception(UnknownPair(f"Kraken knows no pair {', '.join(missing)}"))
        elif self._connection is not None and not self._subscribed:
            self._subscribed = True
            self._spawn(self._subscribe_all(self._connection))

    async def _subscribe_all(self, connection: Connection) -> None:
        try:
            for info in [self._infos[name] for name in self._names]:
                await self._open(info)
        except BusError as error:
            connection.close(str(error))
        except FeedError as error:
            self._fatal.set_exception(error)
        if connection is self._connection:
            self._send("subscribe", channel="book", symbol=self._names, depth=self._depth, snapshot=True)
            self._send("subscribe", channel="trade", symbol=self._names, snapshot=True)

    async def _open(self, info: PairInfo) -> None:
        pair = self.pairs.get(info.pair)
        scale = scale_of(info)
        if pair is None:
            published = PublishedInstrument(self._publisher, info.pair, scale)
            published.up = state_of(info)
            await published.open()
            self.pairs[info.pair] = Pair(published, self._depth, info.precision)
        elif info.precision != pair.sync.book.precision:
            await pair.published.rescale(scale)
            pair.sync.use(info.precision)

    # ---- requests

    async def _resubscribe(self, pair: Pair) -> None:
        """Subscribes again, which brings a new snapshot. Updates that come before it are not used."""
        name = pair.published.symbol
        await asyncio.sleep(self._backoff.next_s())
        try:
            await pair.published.rescale()
        except BusError as error:
            log.error("%s: %s", name, error)
        self._send("unsubscribe", channel="book", symbol=[name], depth=self._depth)
        self._send("subscribe", channel="book", symbol=[name], depth=self._depth, snapshot=True)

    def _send(self, method: str, **params: Any) -> None:
        if self._connection is not None:
            self._connection.send(json.dumps({"method": method, "params": params}))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
