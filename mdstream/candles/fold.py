"""The candles of one instrument, from its trades in the order of their numbers; without I/O.

Everything that is stored follows from the trades alone, but for ``rev``, and for when candles close and the day rolls where no trade
comes. So two writers that have the same trades have the same candles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mdstream._core.codec.feed_decoder import TradeValue
from mdstream.bus.candles import Stats, Summary
from mdstream.candle import CLOSED, INCOMPLETE, SPANS, Candle
from mdstream.candles.bar import Bar, Run
from mdstream.candles.day import Day

WIDTHS: Final = tuple(SPANS.values())
MINUTES: Final = list(SPANS).index("1m")
KEPT: Final = 4
"""Closed candles of each span that are kept at hand, for late trades."""
SECOND_US: Final = 1_000_000


class Place(NamedTuple):
    """A candle: the index of its span, and its start."""

    span: int
    start_s: int


def closes_at_s(newest: Iterable[Bar | Candle | None]) -> int | None:
    """When the next span is over of which a candle is still open; ``newest`` has one of each span."""
    ends = [
        each.start_s + width
        for each, width in zip(newest, WIDTHS, strict=True)
        if each is not None and not each.flags & CLOSED
    ]
    return min(ends, default=None)


class Fold:
    """Where it stands is ``epoch`` and ``seq``: the number of the last trade in it; 0 and 0 before the first."""

    def __init__(self, stats: Stats | None = None, minutes: Iterable[Candle] = ()) -> None:
        """Goes on from what was stored: ``minutes`` are the closed candles of a minute."""
        self.epoch = self.seq = self.traded_us = 0
        self._newest: list[Bar | None] = [None] * len(WIDTHS)
        self._older: list[dict[int, Bar | None]] = [{} for _ in WIDTHS]
        self._changed: dict[Place, Bar] = {}
        self._closed_changes = 0
        self._forgotten: set[Place] = set()
        """Candles that are not stored any more: what comes of them now is not all."""
        self._day = Day()
        self._tail_lost = False
        for minute in minutes:
            self._day.put(minute)
        if stats is not None:
            self._go_on(stats)

    def _go_on(self, stats: Stats) -> None:
        self.epoch, self.seq, self.traded_us = stats.epoch, stats.seq, stats.traded_us
        self._newest = [None if candle is None else Bar.of(candle) for candle in stats.newest]
        for span, candle in stats.changed:
            newest = self._newest[span]
            if newest is None or newest.start_s != candle.start_s:
                self._older[span][candle.start_s] = Bar.of(candle)
            if span == MINUTES:
                self._day.put(candle)
        if (minute := self._newest[MINUTES]) is not None:
            self._day.put(minute)

    # ---- trades

    def lose_tail(self) -> None:
        """Trades are missing before the next epoch begins."""
        self._tail_lost = True

    def missing(self, trades: Iterable[TradeValue]) -> set[Place]:
        """The closed candles that these trades change and that are not at hand: give them to ``use`` first."""
        seconds = {trade.ts_us // SECOND_US for trade in trades}
        if self.epoch:
            seconds.add(self.traded_us // SECOND_US)
        found = set()
        for span, width in enumerate(WIDTHS):
            newest, older = self._newest[span], self._older[span]
            if newest is not None:
                starts = {second - second % width for second in seconds}
                found |= {
                    Place(span, start) for start in starts if start < newest.start_s and start not in older
                }
        return found

    def use(self, place: Place, candle: Candle | None, *, is_forgotten: bool = False) -> None:
        """Takes a closed candle that was missing; None if there is none. ``is_forgotten``: there may have been one, long ago."""
        self._older[place.span][place.start_s] = None if candle is None else Bar.of(candle)
        if is_forgotten:
            self._forgotten.add(place)

    def apply(self, trades: Sequence[TradeValue], scale: tuple[int, int], most_closed: int) -> int:
        """Takes trades of one scale in order; those that it has are passed over. Returns how many of them it took: it stops before the
        next second once ``most_closed`` closed candles have changed."""
        at, end = 0, len(trades)
        while at < end and self._closed_changes < most_closed:
            if (trades[at].epoch, trades[at].seq) <= (self.epoch, self.seq):
                at += 1
                continue
            run, at = self._run(trades, at, scale)
            self._merge(run)
            self.epoch, self.seq, self.traded_us = run.epoch, run.last_seq, trades[at - 1].ts_us
        return at

    def _run(self, trades: Sequence[TradeValue], at: int, scale: tuple[int, int]) -> tuple[Run, int]:
        """The trades from ``at`` on that are of one second and follow each other, and where the next ones begin."""
        epoch, first, ts_us, price, volume, _, _ = trades[at]
        flags = 0 if self._follows(epoch, first) else INCOMPLETE
        if flags:
            self._flag_last()
        second, seq, high, low, close = ts_us // SECOND_US, first, price, price, price
        begin, end = second * SECOND_US, second * SECOND_US + SECOND_US
        start = at
        for at in range(start + 1, len(trades)):
            next_epoch, next_seq, ts_us, close_next, size, _, _ = trades[at]
            if next_epoch != epoch or next_seq != seq + 1 or not begin <= ts_us < end:
                break
            seq, close = next_seq, close_next
            volume += size
            if close > high:
                high = close
            elif close < low:
                low = close
        else:
            at = len(trades)
        run = Run(second, price, high, low, close, volume, seq - first + 1, epoch, first, seq, *scale, flags)
        return run, at

    def _follows(self, epoch: int, seq: int) -> bool:
        """Whether no trade is missing before this one. Before the first of all nobody knows."""
        if epoch == self.epoch:
            return seq == self.seq + 1
        lost, self._tail_lost = self._tail_lost, False
        return self.epoch > 0 and seq == 1 and not lost

    def _flag_last(self) -> None:
        """Trades after the last one were lost: its candles may lack them."""
        if not self.epoch:
            return
        second = self.traded_us // SECOND_US
        for span, width in enumerate(WIDTHS):
            bar = self._at_hand(span, second - second % width)
            if bar is not None and not bar.flags & INCOMPLETE:
                bar.flags |= INCOMPLETE
                self._change(span, bar)

    def _at_hand(self, span: int, start_s: int) -> Bar | None:
        newest = self._newest[span]
        return newest if newest is not None and newest.start_s == start_s else self._older[span].get(start_s)

    def _merge(self, run: Run) -> None:
        for span, width in enumerate(WIDTHS):
            start_s = run.second - run.second % width
            newest = self._newest[span]
            if newest is None or start_s > newest.start_s:
                bar = self._begin(span, start_s, run)
            elif start_s == newest.start_s:
                bar = newest
                bar.add(run)
            else:
                bar = self._correct(span, start_s, run)
            self._change(span, bar)

    def _begin(self, span: int, start_s: int, run: Run) -> Bar:
        """The next candle; the one before it closes."""
        before = self._newest[span]
        if before is not None:
            self._older[span][before.start_s] = before
            self._close(span, before)
        bar = self._newest[span] = Bar.begin(start_s, run)
        return bar

    def _correct(self, span: int, start_s: int, run: Run) -> Bar:
        """A late trade, of a closed candle or of one that had no trade."""
        bar = self._older[span].get(start_s)
        if bar is None:
            is_forgotten = Place(span, start_s) in self._forgotten
            flags = CLOSED | INCOMPLETE if is_forgotten else CLOSED
            bar = self._older[span][start_s] = Bar.begin(start_s, run, flags)
        else:
            bar.add(run)
        return bar

    def _close(self, span: int, bar: Bar) -> None:
        if not bar.flags & CLOSED:
            bar.flags |= CLOSED
            self._changed.pop(Place(span, bar.start_s), None)  # so that it is counted
            self._change(span, bar)

    def _change(self, span: int, bar: Bar) -> None:
        place = Place(span, bar.start_s)
        if place not in self._changed:
            self._changed[place] = bar
            self._closed_changes += bar.flags & CLOSED

    # ---- time

    def close_until(self, now_s: float) -> None:
        """Closes candles whose span was over then."""
        for span, (bar, width) in enumerate(zip(self._newest, WIDTHS, strict=True)):
            if bar is not None and bar.start_s + width <= now_s:
                self._close(span, bar)

    # ---- what is stored

    def take(self, now_us: int) -> Stats:
        """What is to be stored now. Changes count as stored: after a failure, begin again from what was stored."""
        changed = []
        for place, bar in self._changed.items():
            bar.rev += 1
            if place.span == MINUTES:
                self._day.put(bar)
            if bar.flags & CLOSED:
                changed.append((place.span, bar.candle()))
        self._changed.clear()
        self._closed_changes = 0
        self._forget_old()
        changed.sort(key=lambda each: (each[0], each[1].start_s))
        newest = tuple(None if bar is None else bar.candle() for bar in self._newest)
        return Stats(self.epoch, self.seq, self.traded_us, self._summary(now_us), newest, tuple(changed))

    def _summary(self, now_us: int) -> Summary:
        second = self._newest[0]
        scale = (0, 0) if second is None else (second.price_exp, second.size_exp)
        end_us = max(now_us, self.traded_us, 0 if second is None else second.start_s * SECOND_US)
        return self._day.summary(end_us, scale)

    def _forget_old(self) -> None:
        self._forgotten.clear()
        for older in self._older:
            for start_s in sorted(older)[:-KEPT]:
                del older[start_s]
