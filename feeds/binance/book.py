"""One symbol: turns the venue's events into calls on the published instrument, and recovers after losses."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

from mdstream._core.base.decimals import parse_levels
from mdstream.errors import BusError, FeedError
from mdstream.feeds._actions import BookAction
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds._venue import HEALTHY_S, Backoff
from mdstream.feeds._websocket import VenueUnavailable
from mdstream.feeds.binance.budget import Rank
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot, Trade
from mdstream.feeds.binance.rest import DEPTH_LIMIT, GONE, SymbolInfo
from mdstream.feeds.binance.sync import DepthSync
from mdstream.feeds.binance.trades import LostTrades, TradeAction, TradeSequence

log = logging.getLogger("mdstream.feeds.binance")

MEND_BASE_S = 1.0
MEND_CAP_S = 60.0
FETCH_DEADLINE_S = 10.0
"""Trades that are missing are told lost after this time."""
CHECK_LEVELS = 100
CHECK_GRACE_S = 2.0
"""A snapshot may be this much ahead of the stream."""


class Venue(Protocol):
    """What a book asks of the REST API."""

    async def depth(self, symbol: str, limit: int, rank: Rank) -> DepthSnapshot: ...
    async def symbols(self, symbols: list[str]) -> dict[str, SymbolInfo]: ...
    async def trades(self, symbol: str, ids: range) -> list[Trade]: ...


class SymbolBook:
    """Follows one symbol. Asks for snapshots until one fits the diffs, and again before the price leaves what the last one held."""

    def __init__(
        self,
        published: PublishedInstrument,
        venue: Venue,
        info: SymbolInfo,
        *,
        limit: int = DEPTH_LIMIT,
        mend_base_s: float = MEND_BASE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.published = published
        self.info = info
        self._venue = venue
        self._limit = limit
        self._clock = clock
        self._sync = DepthSync(limit=limit)
        self._trades = TradeSequence()
        self._backoff = _patient(mend_base_s)
        self._renewal_backoff = _patient(mend_base_s)
        self._tried_at: float | None = None
        self._heard_at = clock()
        self._quiet = False
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # ---- from the venue

    def on_diff(self, diff: DepthDiff) -> bool:
        """Whether it is new, as far as that can be told."""
        self._quiet = False
        actions = self._sync.on_diff(diff)
        is_new = bool(actions) or not self._sync.live
        if is_new:
            self._heard_at = self._clock()
        self._perform(actions)
        self._mend()
        return is_new

    def on_trade(self, trade: Trade) -> bool:
        """Whether it is new."""
        actions = self._trades.on_trade(trade)
        is_new = bool(actions) or self._trades.missing is not None
        if is_new:
            self._heard_at = self._clock()
        self._publish(actions)
        if self._trades.missing is not None:
            self._run("trades", self._fetch_trades)
        return is_new

    def on_lost(self, reason: str) -> None:
        """The connection is lost. The next one has its own backoff, so that the book need not wait again."""
        self._tried_at = None
        self._quiet = False
        self._cancel("mend")
        self._lose(reason)

    def on_info(self, info: SymbolInfo) -> None:
        """What the venue knows of the symbol may have changed."""
        if info.status != self.info.status:
            log.info("%s: the venue's status is %s, was %s", info.symbol, info.status, self.info.status)
        self.info = info
        self.published.up = info.state
        self.published.show()
        if not _holds(self.published.scale, info.scale):
            self._lose("the venue has made its increments finer")
            self._mend()
        elif not info.trades:
            # A halted symbol sends nothing; this is the venue's word.
            self.heard()

    def on_gone(self) -> None:
        """The venue no longer knows the symbol."""
        self.on_info(replace(self.info, status=GONE))

    def stop(self) -> None:
        for name in list(self._tasks):
            self._cancel(name)

    # ---- quiet or dead

    @property
    def live(self) -> bool:
        """Whether there is a book to vouch for."""
        return self._sync.live and not self.published.frozen

    @property
    def unheard_s(self) -> float:
        """How long ago the venue's last word about this symbol was."""
        return self._clock() - self._heard_at

    def heard(self) -> None:
        """The venue says that nothing is new, by data of the connection or by REST."""
        self._heard_at = self._clock()
        self.published.heard()

    def on_quiet(self) -> None:
        """No diff has come since the connection opened: the next snapshot is the book."""
        if self._sync.waiting:
            self._quiet = True
            self._mend()

    def doubt(self, reason: str) -> None:
        """The venue has something that the stream did not bring: another snapshot is needed."""
        self._lose(reason)
        self._quiet = True
        self._mend()

    def freeze(self, reason: str) -> None:
        self.published.freeze(reason)

    async def agrees(self) -> bool | None:
        """Whether the venue's REST API has nothing that the stream has not brought; None if its answer is too old to tell.

        Raises VenueUnavailable, FeedError.
        """
        asked_at = self._sync.update_id
        snapshot = await self._venue.depth(self.published.symbol, CHECK_LEVELS, Rank.CHECK)
        if self._sync.live and snapshot.update_id < asked_at:
            return None
        if not self._covers(snapshot):
            await asyncio.sleep(CHECK_GRACE_S)
        return self._covers(snapshot)

    def _covers(self, snapshot: DepthSnapshot) -> bool:
        return (
            not self._sync.live
            or snapshot.update_id <= self._sync.update_id
            or self._shows_the_same(snapshot)
        )

    def _shows_the_same(self, snapshot: DepthSnapshot) -> bool:
        ref = self.published.instrument.ref
        shown = self.published.instrument.book.view(depth=CHECK_LEVELS)
        assert shown is not None, "the view as of now needs no log"
        try:
            venues = [
                parse_levels(side, ref.price_exp, ref.size_exp) for side in (snapshot.bids, snapshot.asks)
            ]
        except (TypeError, ValueError):
            return False
        return all(list(side) == list(ours) for side, ours in zip(venues, shown, strict=True))

    # ---- publishing

    def _perform(self, actions: Sequence[BookAction]) -> None:
        if not actions:
            return
        refused = self.published.perform(actions)
        if refused is not None:
            self._lose(str(refused))

    def _lose(self, reason: str) -> None:
        self._cancel("renew")
        self.published.perform(self._sync.lose(reason))

    def _publish(self, actions: Sequence[TradeAction]) -> None:
        for action in actions:
            if isinstance(action, LostTrades):
                log.warning("%s: %d trades are lost", self.published.symbol, action.count)
                self.published.lose_trades(action.count)
                continue
            refused = self.published.trade(
                action.price, action.size, action.side, action.trade_id, action.ts_us
            )
            if refused is not None:
                self._lose(str(refused))
        if self.published.wants_rescale:
            self._mend()

    # ---- mending

    def _mend(self) -> None:
        if self._broken:
            self._run("mend", self._mend_book)
        elif self._sync.nears_edge:
            self._run("renew", self._renew_book)

    @property
    def _broken(self) -> bool:
        return self._wants_rescale or self._sync.wants_snapshot or (self._quiet and self._sync.waiting)

    @property
    def _wants_rescale(self) -> bool:
        return self.published.wants_rescale or not _holds(self.published.scale, self.info.scale)

    async def _mend_book(self) -> None:
        failed = False
        while self._broken:
            if failed or not self._wants_rescale:
                await self._pause()
            failed = True
            try:
                if self._wants_rescale:
                    await self._rescale()
                if self._broken:
                    await self._load()
                failed = False
            except VenueUnavailable as error:
                log.warning("%s", error)
            except (BusError, FeedError) as error:
                log.warning("%s: %s", self.published.symbol, error)

    async def _pause(self) -> None:
        """At once if the book was well until now; else later and later."""
        before, now = self._tried_at, self._clock()
        if before is None or now - before >= HEALTHY_S + MEND_CAP_S:
            self._backoff.reset()
        else:
            await asyncio.sleep(self._backoff.next_s())
        self._tried_at = self._clock()

    async def _load(self) -> None:
        snapshot = await self._venue.depth(self.published.symbol, self._limit, Rank.LOST_BOOK)
        self._perform(self._sync.on_snapshot(snapshot))
        if self._quiet:
            self._perform(self._sync.settle(time.time_ns() // 1000))
        if self.live:
            self.heard()

    async def _rescale(self) -> None:
        """Opens the instrument again with increments that hold what the venue sends: its own new ones if they do."""
        try:
            self.info = (await self._venue.symbols([self.published.symbol]))[self.published.symbol]
        except FeedError as error:
            log.warning("%s", error)
        self.published.up = self.info.state
        await self.published.rescale(_finer(self.published.scale_wanted, self.info.scale))

    async def _renew_book(self) -> None:
        while self._sync.nears_edge:
            self._sync.renew()
            try:
                snapshot = await self._venue.depth(self.published.symbol, self._limit, Rank.EDGE)
            except FeedError as error:
                self._sync.cancel_renewal()
                log.warning("%s: %s", self.published.symbol, error)
                await asyncio.sleep(self._renewal_backoff.next_s())
            else:
                self._renewal_backoff.reset()
                self._perform(self._sync.on_snapshot(snapshot))

    async def _fetch_trades(self) -> None:
        while self._trades.missing is not None:
            try:
                async with asyncio.timeout(FETCH_DEADLINE_S):
                    await self._fetch_missing()
            except (TimeoutError, FeedError) as error:
                why = str(error) or f"no answer within {FETCH_DEADLINE_S:g} s"
                log.warning("%s: missing trades cannot be fetched: %s", self.published.symbol, why)
                self._publish(self._trades.give_up())

    async def _fetch_missing(self) -> None:
        backoff = Backoff()
        while (missing := self._trades.missing) is not None:
            try:
                fetched = await self._venue.trades(self.published.symbol, missing)
                self._publish(self._trades.on_fetched(fetched))
            except VenueUnavailable as error:
                log.warning("%s", error)
            if self._trades.missing == missing:
                await asyncio.sleep(backoff.next_s())

    # ---- tasks

    def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Starts a task, unless it runs already."""
        task = self._tasks.get(name)
        if task is None or task.done():
            self._tasks[name] = asyncio.create_task(work())

    def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()


def _patient(base_s: float) -> Backoff:
    """Between half and all of the delay: what is refused again and again must not be asked for often, by chance neither."""
    return Backoff(base_s=base_s, cap_s=MEND_CAP_S, draw=lambda: 0.5 + random.random() / 2)


def _finer(scale: Scale, venues: Scale) -> Scale:
    """The venue's own increments if they hold every number of ``scale``, else what holds both."""
    if _holds(venues, scale):
        return venues
    if _holds(scale, venues):
        return scale
    return Scale(min(scale.price_exp, venues.price_exp), min(scale.size_exp, venues.size_exp))


def _holds(scale: Scale, other: Scale) -> bool:
    """Whether every number of ``other`` is also one of ``scale``."""
    price = Decimal(other.tick).scaleb(other.price_exp) % Decimal(scale.tick).scaleb(scale.price_exp)
    size = Decimal(other.lot).scaleb(other.size_exp) % Decimal(scale.lot).scaleb(scale.size_exp)
    return not price and not size
