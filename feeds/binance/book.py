"""One symbol: from the venue's events to the instrument that is published, whatever goes wrong between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from feeds._lines import exact_exponent
from feeds._steps import Apply, Load, Step, perform
from feeds._venue import Backoff
from feeds._websocket import VenueUnavailable
from feeds.binance.events import DepthDiff, DepthSnapshot, Trade
from feeds.binance.sync import DepthSync
from mdstream.errors import BusError, FeedError
from mdstream.feed import Instrument, Publisher

log = logging.getLogger("feeds.binance")

GetSnapshot = Callable[[], Awaitable[DepthSnapshot]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How a symbol's decimals become integers; increments in units of the exponents."""

    price_exp: int
    size_exp: int
    tick: int = 1
    lot: int = 1

    def holding(self, steps: Sequence[Step]) -> Scale:
        """The coarsest scale that also holds what steps bring.

        After the venue has changed a symbol's increments, older orders stay where they were, off the new ones.
        """
        levels = [
            level for step in steps if isinstance(step, Load | Apply) for level in (*step.bids, *step.asks)
        ]
        price_exp = min(self.price_exp, exact_exponent(price for price, _ in levels))
        size_exp = min(self.size_exp, exact_exponent(size for _, size in levels))
        if (price_exp, size_exp) == (self.price_exp, self.size_exp):
            return replace(self, tick=1, lot=1)
        return Scale(price_exp, size_exp)


async def open_instrument(publisher: Publisher, symbol: str, scale: Scale) -> Instrument:
    """Announces a symbol that has no book yet."""
    return await publisher.instrument(
        symbol,
        price_exp=scale.price_exp,
        size_exp=scale.size_exp,
        tick=scale.tick,
        lot=scale.lot,
        name=symbol,
        state="feed_down",
        reason="waiting for the venue's book",
    )


class SymbolBook:
    """Follows one symbol. ``get_snapshot`` asks the venue for one; it is asked again until it fits."""

    def __init__(self, publisher: Publisher, symbol: str, scale: Scale, get_snapshot: GetSnapshot) -> None:
        self.symbol = symbol
        self.resyncs = 0
        self._publisher = publisher
        self._scale = scale
        self._get_snapshot = get_snapshot
        self._instrument: Instrument | None = None
        self._sync = DepthSync()
        self._last_trade_id = -1
        self._resync: asyncio.Task[None] | None = None
        self._new_scale: Scale | None = None

    async def open(self) -> None:
        self._instrument = await open_instrument(self._publisher, self.symbol, self._scale)

    @property
    def instrument(self) -> Instrument:
        assert self._instrument is not None, "open() comes first"
        return self._instrument

    # ---- from the venue

    def on_diff(self, diff: DepthDiff) -> None:
        self._perform(self._sync.on_diff(diff))
        self._want_snapshot()

    def on_trade(self, trade: Trade) -> None:
        """Trades come in order; two connections that overlap bring some of them twice."""
        if trade.trade_id <= self._last_trade_id:
            return
        self._last_trade_id = trade.trade_id
        try:
            self.instrument.trade(
                trade.price, trade.size, trade.side, trade_id=trade.trade_id, ts_us=trade.ts_us
            )
        except FeedError as error:
            log.error("trade %d was refused: %s", trade.trade_id, error)

    def on_lost(self, reason: str) -> None:
        self._perform(self._sync.lose(reason))

    def stop(self) -> None:
        if self._resync is not None:
            self._resync.cancel()

    # ---- to the instrument

    def _perform(self, steps: Sequence[Step]) -> None:
        try:
            perform(self.instrument, steps)
        except FeedError as error:
            log.error("%s; the book begins anew", error)
            self._new_scale = self._scale.holding(steps)
            self._perform(self._sync.lose(str(error)))

    # ---- from doubt to a book

    def _want_snapshot(self) -> None:
        if self._sync.wants_snapshot and (self._resync is None or self._resync.done()):
            self.resyncs += 1
            self._resync = asyncio.create_task(self._resynchronise())

    async def _resynchronise(self) -> None:
        backoff = Backoff()
        while self._sync.wants_snapshot:
            delay_s: float | None = None
            try:
                await self._rescale()
                self._perform(self._sync.on_snapshot(await self._get_snapshot()))
            except VenueUnavailable as error:
                log.warning("%s", error)
                delay_s = error.retry_after_s
            except (BusError, FeedError) as error:
                log.warning("%s: %s", self.symbol, error)
            if self._sync.wants_snapshot:
                await asyncio.sleep(backoff.next_s() if delay_s is None else delay_s)

    async def _rescale(self) -> None:
        """A refused level may lie off the increments that were announced: announce finer ones, in a new epoch."""
        if self._new_scale is None:
            return
        scale, self._new_scale = self._new_scale, None
        if scale != self._scale:
            self._scale = scale
            await self.open()
