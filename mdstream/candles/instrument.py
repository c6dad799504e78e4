"""The candles of one instrument: trades come in, ``MD_CANDLES`` gets what follows from them, by compare-and-set.

What is stored is written in two steps. The statistics come first, with the position and with the closed candles that have changed: whoever
stores them owns these trades, and everybody else is refused. Then the closed candles go to their own subjects. A writer that ends
between the two leaves the second step to the next one, which finds in the statistics what there is to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from mdstream._core.codec.feed_decoder import TradeValue
from mdstream.bus import Bus
from mdstream.bus.candles import (
    Stats,
    StoredStats,
    encode_candles,
    last_candles,
    last_stats,
    put_candles,
    put_stats,
    read_candles,
)
from mdstream.candle import SPANS, Candle
from mdstream.candles.fold import MINUTES, Fold, Place, closes_at_s
from mdstream.candles.reading import Position, Scale
from mdstream.errors import BusConflict
from mdstream.model import InstrumentId

logger = logging.getLogger("mdstream.candles")

SPAN_NAMES: Final = tuple(SPANS)
MOST_CLOSED: Final = 512
"""Closed candles that one message of statistics may change, about."""
MOST_WAITING: Final = 100_000
"""Trades that wait to be stored; beyond that they are dropped, and read again from the log."""
REPEAT_S: Final = 60.0
"""How often the statistics are stored where no trade comes, because the day goes on."""
GRACE_S: Final = 1.0
QUIET_S: Final = 2.0
"""A candle closes without a trade so long after its end, if none came for so long."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Monotonic seconds, and µs since the Unix epoch."""

    now_s: Callable[[], float]
    wall_us: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Trades of one scale that are not stored yet."""

    at_s: float
    trades: Sequence[TradeValue]
    scale: Scale
    after_loss: bool = False
    """Trades are missing before them, though their epoch has just begun."""


class InstrumentWriter:
    """Stores the candles of an instrument: ``take`` gives it trades, ``step`` stores what is due."""

    def __init__(
        self,
        bus: Bus,
        instrument: InstrumentId,
        clocks: Clocks,
        *,
        interval_s: float,
        take_over_s: float,
        rewind: Callable[[Position], None],
        wake: Callable[[], None],
    ) -> None:
        """``interval_s``: the time between two messages. ``take_over_s``: how old a trade becomes before another writer than the last one
        stores it. ``rewind`` reads again what comes after a position. ``wake``: something may
        be due sooner than it was."""
        self.instrument = instrument
        self.is_owner = False
        """Whether we were the last to store something."""
        self.stored_trades = 0
        self.stored_candles = 0
        self.conflicts = 0
        self._bus = bus
        self._clocks = clocks
        self._interval_s = interval_s
        self._take_over_s = take_over_s
        self._rewind = rewind
        self._wake = wake
        self._waiting: deque[Waiting] = deque()
        self._count = 0
        self._fold: Fold | None = None
        """None: it must be read from what is stored."""
        self._stats_seq = 0
        self._candle_seqs: list[int] = [0] * len(SPAN_NAMES)
        self._position: Position | None = None
        """What is stored."""
        self._window_us = 0
        """When the window of the stored statistics ended."""
        self._stored_at_s = float("-inf")
        self._heard_at_s = clocks.now_s()
        self._closes_at_s: int | None = None
        self._has_day = False
        self._tail_lost = False

    # ---- trades (TradeTaker)

    def take(self, trades: Sequence[TradeValue], scale: Scale) -> None:
        now_s = self._heard_at_s = self._clocks.now_s()
        if self._count + len(trades) > MOST_WAITING:
            self._waiting.clear()
            self._count = 0
            if self._position is not None:
                asyncio.get_running_loop().call_soon(self._rewind, self._position)
                return
        self._waiting.append(Waiting(now_s, trades, scale, self._tail_lost))
        self._tail_lost = False
        self._count += len(trades)
        self._wake()

    def lose_tail(self) -> None:
        self._tail_lost = True

    # ---- when

    @property
    def waits(self) -> bool:
        """Whether trades wait to be stored."""
        return bool(self._waiting)

    def due_s(self) -> float | None:
        """When ``step`` has something to do, by our clock; None: not before more comes."""
        if self._waiting:
            wait_s = 0.0 if self.is_owner else self._take_over_s
            return max(self._waiting[0].at_s + wait_s, self._stored_at_s + self._interval_s)
        return self._quiet_due_s()

    def _quiet_due_s(self) -> float | None:
        """Without trades, candles close, and the day goes on."""
        if self._position is None:
            return None
        now_s, wall_s = self._clocks.now_s(), self._clocks.wall_us() / 1e6
        late_s = 0.0 if self.is_owner else self._take_over_s
        dues = [now_s + self._window_us / 1e6 + REPEAT_S - wall_s] if self._has_day else []
        if self._closes_at_s is not None:
            closes_s = now_s + self._closes_at_s + GRACE_S - wall_s
            dues.append(max(closes_s, self._heard_at_s + QUIET_S))
        return max(min(dues) + late_s, self._stored_at_s + self._interval_s) if dues else None

    # ---- what is stored

    async def load(self) -> Position | None:
        """Reads what is stored, and completes it; returns the position, None if there is none. Raises BusError, BusUnavailable."""
        self._fold = None
        stored = await last_stats(self._bus, self.instrument)
        if stored is None:
            self._fold, self._stats_seq = Fold(), 0
            self._candle_seqs = [seq for seq, _ in await self._last_candles()]
            self.is_owner = True  # nobody else is
            return None
        self._note(stored)
        return self._position

    async def step(self) -> None:
        """Stores what is due. Raises BusError, BusUnavailable; then the next step begins from what is stored."""
        try:
            if self._fold is None or not self.is_owner:
                await self._begin()
            if self._is_due():
                await self._store_all()
        except BusConflict:
            self.conflicts += 1
            self._lose("another writer was faster")
        except BaseException:
            self._lose("it failed")
            raise

    def _is_due(self) -> bool:
        due_s = self.due_s()
        return due_s is not None and due_s <= self._clocks.now_s()

    def _lose(self, why: str) -> None:
        logger.debug("%s: %s; its candles are read again", self.instrument, why)
        self._fold, self.is_owner = None, False

    async def _begin(self) -> None:
        """Goes on from what is stored, unless somebody else does."""
        stored = await last_stats(self._bus, self.instrument)
        if stored is None:
            await self.load()
            return
        self._note(stored)
        if not self._is_due():
            return
        minutes = await read_candles(self._bus, self.instrument, SPAN_NAMES[MINUTES])
        await self._complete(stored)
        self._stats_seq = stored.stream_seq
        self._fold = Fold(stored.stats, minutes.values())

    def _note(self, stored: StoredStats) -> int:
        """Somebody stored this: trades that are in it wait no longer. Returns how many."""
        stats = stored.stats
        self._position = Position(stats.epoch, stats.seq, stored.stored_us, _scale_of(stats))
        self._window_us = stats.summary.ts_us
        self._has_day = stats.summary.count > 0
        self._closes_at_s = closes_at_s(stats.newest)
        before = self._count
        while self._waiting and self._waiting[0].trades[-1][:2] <= (stats.epoch, stats.seq):
            self._count -= len(self._waiting.popleft().trades)
        return before - self._count

    async def _complete(self, stored: StoredStats) -> None:
        """Stores the closed candles of these statistics where that was not done."""
        found = await self._last_candles()
        self._candle_seqs = [seq for seq, _ in found]
        again = await last_stats(self._bus, self.instrument)
        if again is None or again.stream_seq != stored.stream_seq:
            raise BusConflict(f"{self.instrument}: another writer goes on")
        for span, candles in _by_span(stored.stats.changed):
            if encode_candles(candles) != found[span][1]:
                await self._put(span, candles)

    async def _last_candles(self) -> list[tuple[int, bytes]]:
        return list(
            await asyncio.gather(*(last_candles(self._bus, self.instrument, name) for name in SPAN_NAMES))
        )

    # ---- storing

    async def _store_all(self) -> None:
        """All that waits, in as many messages as that takes."""
        assert self._fold is not None
        fold = self._fold
        if not self._waiting:
            fold.close_until(self._clocks.wall_us() / 1e6 - GRACE_S)
            await self._store(fold)
            return
        more = True
        while more:
            waiting = tuple(self._waiting)  # what comes meanwhile may need other candles
            await self._use_missing(fold, waiting)
            more = _fold_all(fold, waiting)
            await self._store(fold)

    async def _store(self, fold: Fold) -> None:
        stats = fold.take(self._clocks.wall_us())
        self._stats_seq = await put_stats(self._bus, self.instrument, stats, expected_seq=self._stats_seq)
        self.is_owner = True
        self._stored_at_s = self._clocks.now_s()
        self.stored_trades += self._note(StoredStats(stats, self._stats_seq, self._clocks.wall_us()))
        done = await asyncio.gather(
            *(self._put(span, candles) for span, candles in _by_span(stats.changed)), return_exceptions=True
        )
        for error in done:
            if error is not None:
                raise error

    async def _put(self, span: int, candles: Sequence[Candle]) -> None:
        self._candle_seqs[span] = await put_candles(
            self._bus, self.instrument, SPAN_NAMES[span], candles, expected_seq=self._candle_seqs[span]
        )
        self.stored_candles += len(candles)

    async def _use_missing(self, fold: Fold, waiting: Sequence[Waiting]) -> None:
        """Reads the closed candles that late trades correct."""
        missing: set[Place] = set()
        for each in waiting:
            missing |= fold.missing(each.trades)
        for span, places in groupby(sorted(missing), key=lambda place: place.span):
            stored = await read_candles(self._bus, self.instrument, SPAN_NAMES[span])
            oldest = min(stored, default=0)
            for place in places:
                fold.use(place, stored.get(place.start_s), is_forgotten=place.start_s < oldest)


def _scale_of(stats: Stats) -> Scale | None:
    """The scale of the epoch, where the newest candle tells: all its trades are of that epoch."""
    newest = stats.newest[0]
    if newest is None or newest.epoch != stats.epoch:
        return None
    is_alone = newest.count == newest.last_seq - newest.first_seq + 1
    return (newest.price_exp, newest.size_exp) if is_alone else None


def _fold_all(fold: Fold, waiting: Sequence[Waiting]) -> bool:
    """Folds trades, up to a bound of candles; returns whether there are more."""
    for each in waiting:
        if each.after_loss and fold.epoch < each.trades[0].epoch:
            fold.lose_tail()
        if fold.apply(each.trades, each.scale, MOST_CLOSED) < len(each.trades):
            return True
    return False


def _by_span(changed: Sequence[tuple[int, Candle]]) -> list[tuple[int, list[Candle]]]:
    """Closed candles by the index of their span."""
    spans = groupby(changed, key=lambda each: each[0])
    return [(span, [candle for _, candle in candles]) for span, candles in spans]
