"""One symbol: turns the venue's events into calls on the published instrument, and recovers after losses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mdstream.errors import BusError, FeedError
from mdstream.feeds._actions import BookAction
from mdstream.feeds._published import PublishedInstrument
from mdstream.feeds._venue import Backoff
from mdstream.feeds._websocket import VenueUnavailable
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot, Trade
from mdstream.feeds.binance.sync import DepthSync

log = logging.getLogger("mdstream.feeds.binance")

GetSnapshot = Callable[[], Awaitable[DepthSnapshot]]


class SymbolBook:
    """Follows one symbol. Calls ``get_snapshot`` until a snapshot fits the diffs."""

    def __init__(self, published: PublishedInstrument, get_snapshot: GetSnapshot) -> None:
        self.published = published
        self._get_snapshot = get_snapshot
        self._sync = DepthSync()
        self._last_trade_id = -1
        self._resync: asyncio.Task[None] | None = None

    # ---- from the venue

    def on_diff(self, diff: DepthDiff) -> None:
        self._perform(self._sync.on_diff(diff))
        self._want_snapshot()

    def on_trade(self, trade: Trade) -> None:
        """Trades come in order; while two connections overlap, some come twice."""
        if trade.trade_id <= self._last_trade_id:
            return
        self._last_trade_id = trade.trade_id
        self.published.trade(trade.price, trade.size, trade.side, trade.trade_id, trade.ts_us)

    def on_lost(self, reason: str) -> None:
        self._perform(self._sync.lose(reason))

    def stop(self) -> None:
        if self._resync is not None:
            self._resync.cancel()

    # ---- resynchronising

    def _perform(self, actions: Sequence[BookAction]) -> None:
        refused = self.published.perform(actions)
        if refused is not None:
            self.published.perform(self._sync.lose(str(refused)))

    def _want_snapshot(self) -> None:
        if self._sync.wants_snapshot and (self._resync is None or self._resync.done()):
            self._resync = asyncio.create_task(self._resynchronise())

    async def _resynchronise(self) -> None:
        backoff = Backoff()
        while self._sync.wants_snapshot:
            delay_s: float | None = None
            try:
                await self.published.rescale()
                self._perform(self._sync.on_snapshot(await self._get_snapshot()))
            except VenueUnavailable as error:
                log.warning("%s", error)
                delay_s = error.retry_after_s
            except (BusError, FeedError) as error:
                log.warning("%s: %s", self.published.symbol, error)
            if self._sync.wants_snapshot:
                await asyncio.sleep(backoff.next_s() if delay_s is None else delay_s)
