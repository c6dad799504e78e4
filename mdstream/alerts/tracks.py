"""The prices of one instrument as the log of its book or its trades tells them, and the alerts on them. Without I/O.

A track is fed the messages of ``MD_LOG`` in order. So which alert fires at which number follows from the log, whoever reads it and when:
an alert begins with the price at the time at which its user set it, or goes on after the number up to which it was followed before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Final

from mdstream._core.codec.feed_decoder import BookValue, SnapValue, TradeValue, decode_payload
from mdstream._core.orderbook.book import Book
from mdstream.alert import AlertState, is_over, side_of
from mdstream.alerts.levels import Levels
from mdstream.alerts.watched import Crossing, Seen, Watched
from mdstream.bus.alerts import Place
from mdstream.bus.stored_message import Numbered
from mdstream.errors import FeedError

RECENT: Final = 2_048
"""Prices that are remembered, for alerts that are heard of after the market has moved on."""
LOG_CAPACITY: Final = 16
MAX_AHEAD_US: Final = 3_600_000_000
"""An epoch so far ahead of the clock is nobody's."""

Scales = Mapping[int, int]
"""By epoch: the exponent of prices."""


class Outcome(Enum):
    """What became of a message."""

    TAKEN = "taken"
    HOLE = "numbers before it are missing"
    NO_SCALE = "it is of an epoch whose ref is not known"


class Track:
    """One stream of an instrument."""

    ON: tuple[str, ...] = ()
    """The prices that it tells."""

    def __init__(self) -> None:
        self.at = 0
        """The number in ``MD_LOG`` of what was read last."""
        self.us = 0
        """When that was stored."""
        self.epoch = self.seq = 0
        self.refused = 0
        """Messages that could not be read."""
        self._passed = 0
        """The number in ``MD_LOG`` of a message that counts for nothing."""
        self.hole: tuple[int, int] = (0, 0)
        """The epoch and the first number of the message that left a hole."""
        self._seen: Seen | None = None
        self._levels = {name: Levels() for name in self.ON}
        self._joined: set[Watched] = set()
        self._fresh: list[Watched] = []
        """Those that begin with the price at the time at which they were set."""
        self._known: list[Watched] = []
        """Those that were followed further than this track has come."""
        self._recent: deque[tuple[int, Seen | None]] = deque(maxlen=RECENT)
        """When a price was stored, and what was seen from then on; oldest first."""

    def __len__(self) -> int:
        return len(self._joined) + len(self._fresh) + len(self._known)

    @property
    def joined(self) -> Iterable[Watched]:
        """The alerts that have begun."""
        return self._joined

    # ---- alerts

    def add(self, watched: Watched) -> list[Crossing]:
        """Follows an alert from now on, and what it missed since it was set, as far as that is remembered."""
        if watched.is_started:
            return self._go_on(watched)
        if not self.us or watched.put_us >= self.us:
            self._fresh.append(watched)
            return []
        return self._catch_up(watched)

    def remove(self, watched: Watched) -> None:
        for waiting in (self._fresh, self._known):
            if watched in waiting:
                waiting.remove(watched)
        if watched in self._joined:
            self._joined.discard(watched)
            self._levels[watched.alert.on].remove(watched)

    @property
    def fresh(self) -> list[Watched]:
        return list(self._fresh)

    def begin(self, these: Sequence[Watched]) -> list[Crossing]:
        """These of ``fresh`` begin now: nothing that was stored before they were set is unread."""
        crossings: list[Crossing] = []
        for watched in these:
            if watched in self._fresh:
                self._fresh.remove(watched)
                crossings += self._join(watched, self._seen)
        return crossings

    def _go_on(self, watched: Watched) -> list[Crossing]:
        if (watched.state.epoch, watched.state.seq) > (self.epoch, self.seq):
            self._known.append(watched)
            return []
        self._joined.add(watched)
        self._levels[watched.alert.on].add(watched)
        return [] if self._seen is None else self._show(watched, self._seen, late=True)

    def _catch_up(self, watched: Watched) -> list[Crossing]:
        """The market has moved on since it was set."""
        at = bisect_right(self._recent, watched.put_us, key=_stored) - 1
        if at < 0:
            return self._join(watched, self._seen, late=True)
        missed = [seen for _, seen in islice(self._recent, at, None)]
        crossings = self._join(watched, missed[0])
        for seen in missed[1:]:
            if seen is not None and watched in self._joined:
                crossings += self._show(watched, seen)
        return crossings

    def _join(self, watched: Watched, seen: Seen | None, *, late: bool = False) -> list[Crossing]:
        """It begins, with this price."""
        watched.is_started = watched.is_changed = True
        watched.state = AlertState(self.epoch, self.seq, count=watched.state.count)
        self._joined.add(watched)
        self._levels[watched.alert.on].add(watched)
        return [] if seen is None else self._show(watched, seen, late=late)

    def _show(self, watched: Watched, seen: Seen, *, late: bool = False) -> list[Crossing]:
        """A price to one alert alone."""
        ticks = seen.ticks[watched.alert.on]
        if ticks is None:
            return []
        side = side_of(watched.alert, ticks, seen.price_exp)
        if side in (0, watched.state.side):
            return []
        levels = self._levels[watched.alert.on]
        levels.remove(watched)
        crossing = watched.move(seen, side, late=late)
        levels.add(watched)
        return self._told([crossing])

    def _told(self, crossings: Iterable[Crossing | None]) -> list[Crossing]:
        """Those that are; an alert that never fires again is let go."""
        told = [each for each in crossings if each is not None]
        for watched, _ in told:
            if is_over(watched.alert, watched.state):
                self.remove(watched)
        return told

    # ---- prices

    def _take(self, seen: Seen, stored_us: int) -> list[Crossing]:
        """What follows from these prices. Those that were set before them begin first."""
        crossings = self.begin([each for each in self._fresh if each.put_us < stored_us])
        position = (seen.epoch, seen.seq)
        for watched in [each for each in self._known if (each.state.epoch, each.state.seq) < position]:
            self._known.remove(watched)
            self._joined.add(watched)
            self._levels[watched.alert.on].add(watched)
        self._seen = seen
        self._recent.append((stored_us, seen))
        for name, levels in self._levels.items():
            ticks = seen.ticks[name]
            if ticks is not None and levels:
                levels.rescale(seen.price_exp)
                moved = [watched.move(seen, side) for watched, side in levels.moved(ticks)]
                crossings += self._told(moved)
            elif ticks is not None:
                levels.rescale(seen.price_exp)
        return crossings

    def _stand(self, seen: Seen | None, stored_us: int) -> None:
        """Begins with these prices, which no alert is shown but as the price at its beginning."""
        self._seen = seen
        self.us = stored_us
        self._recent.clear()
        self._recent.append((stored_us, seen))
        if seen is not None:
            for levels in self._levels.values():
                levels.rescale(seen.price_exp)

    # ---- messages

    def feed(self, message: Numbered, scales: Scales, now_us: int) -> tuple[Outcome, list[Crossing]]:
        """Takes what follows of a message. Of one that is fed again, what was taken before counts once."""
        raise NotImplementedError

    def give_up(self, message: Numbered, outcome: Outcome, *, is_overtaken: bool) -> None:
        """Feed it once more, and it is done with, whatever is missing before it."""
        self._passed = message.seq

    def is_overtaken(self, messages: Sequence[Numbered]) -> bool:
        """Whether one of these goes on from the number of now: what left a hole before it was no part of the numbering."""
        raise NotImplementedError

    def resume(self, place: Place) -> None:
        """Goes on from there."""
        raise NotImplementedError

    def place(self, log_us: int) -> Place:
        """Up to where it was read."""
        raise NotImplementedError

    def _read(self, kind: Any, message: Numbered) -> list[Any]:
        if message.seq == self._passed:
            return []
        try:
            return decode_payload(kind, message.payload)
        except FeedError:
            self.refused += 1
            return []

    def _done(self, message: Numbered) -> None:
        self.at, self.us = message.seq, max(self.us, message.stored_us)


class BookTrack(Track):
    """The best bid and the best ask."""

    ON = ("bid", "ask")

    def __init__(self, instrument: str) -> None:
        super().__init__()
        self._book = Book(instrument, log_capacity=LOG_CAPACITY)
        self._price_exp = 0

    def load(self, snap: SnapValue, price_exp: int, stored_us: int) -> None:
        """Begins with a snapshot."""
        self._load(snap, price_exp)
        self._stand(self._now(late=False), stored_us)

    def leap(self, snap: SnapValue, price_exp: int, stored_us: int) -> list[Crossing]:
        """Goes on with a snapshot beyond numbers that are missing."""
        self._load(snap, price_exp)
        return self._take(self._now(late=True), stored_us)

    def resume(self, place: Place) -> None:
        """Raises BookError for one that no book can be."""
        snap = SnapValue(place.epoch, place.seq, place.ts_us, place.bids, place.asks)
        self.load(snap, place.price_exp, place.us)
        self.at = place.at

    def place(self, log_us: int) -> Place:
        bids, asks = self._book.view() or ([], [])
        return Place(
            log_us,
            self.us,
            self.at,
            self.epoch,
            self.seq,
            self._price_exp,
            self._book.ts_us,
            None,
            bids,
            asks,
        )

    def _load(self, snap: SnapValue, price_exp: int) -> None:
        """Raises BookError for one that no book can be."""
        book = Book(self._book.instrument, log_capacity=LOG_CAPACITY)
        book.reset(snap.epoch)
        if snap.seq:
            book.load(snap.epoch, snap.seq, snap.ts_us, snap.bids, snap.asks)
        self._book = book
        self.epoch, self.seq, self._price_exp = snap.epoch, snap.seq, price_exp

    def _now(self, *, late: bool) -> Seen:
        bid, ask = self._book.best()
        ticks = {"bid": None if bid is None else bid[0], "ask": None if ask is None else ask[0]}
        return Seen(self.epoch, self.seq, self._book.ts_us, self._price_exp, ticks, late)

    def feed(self, message: Numbered, scales: Scales, now_us: int) -> tuple[Outcome, list[Crossing]]:
        crossings: list[Crossing] = []
        for value in self._read("book", message):
            outcome = self._apply(value, scales, now_us)
            if outcome is not None and outcome is not Outcome.TAKEN:
                return outcome, crossings
            if outcome is Outcome.TAKEN:
                crossings += self._take(self._now(late=False), message.stored_us)
        self._done(message)
        return Outcome.TAKEN, crossings

    def _apply(self, value: BookValue, scales: Scales, now_us: int) -> Outcome | None:
        """None: it changes nothing."""
        if value.epoch < self.epoch or value.epoch > now_us + MAX_AHEAD_US:
            return None
        if value.epoch > self.epoch:
            if value.epoch not in scales:
                return Outcome.NO_SCALE
            if value.first != 1:
                self.hole = value.epoch, value.first
                return Outcome.HOLE
            self._load(SnapValue(value.epoch, 0, value.ts_us, [], []), scales[value.epoch])
        if value.last <= self.seq:
            return None
        if value.first > self.seq + 1:
            self.hole = value.epoch, value.first
            return Outcome.HOLE
        try:
            self._book.apply(value.first, value.last, value.ts_us, value.bids, value.asks)
        except FeedError:
            self.refused += 1
            return None
        self.seq = value.last
        return Outcome.TAKEN

    def is_overtaken(self, messages: Sequence[Numbered]) -> bool:
        values = [value for message in messages for value in self._read("book", message)]
        return any(
            value.epoch == self.epoch and value.first <= self.seq + 1 <= value.last for value in values
        )


class TradeTrack(Track):
    """The price of the last trade."""

    ON = ("last",)

    def __init__(self) -> None:
        super().__init__()
        self._price_exp = self._ts_us = 0
        self._ticks: int | None = None
        self._given_up = (0, 0)
        """What may follow where numbers before it are missing."""

    def stand(self, at: int, stored_us: int, trade: TradeValue | None, price_exp: int) -> None:
        """Begins after a number of the log, with the last trade if it is known."""
        seen = None
        if trade is not None:
            seen = self._note(trade, price_exp, late=False)
        self._stand(seen, stored_us)
        self.at = at

    def resume(self, place: Place) -> None:
        self.epoch, self.seq, self._price_exp = place.epoch, place.seq, place.price_exp
        self._ticks, self._ts_us = place.ticks, place.ts_us
        seen = None
        if place.ticks is not None:
            seen = Seen(place.epoch, place.seq, place.ts_us, place.price_exp, {"last": place.ticks})
        self._stand(seen, place.us)
        self.at = place.at

    def place(self, log_us: int) -> Place:
        numbers = (self.epoch, self.seq, self._price_exp, self._ts_us)
        return Place(log_us, self.us, self.at, *numbers, self._ticks)

    def _note(self, trade: TradeValue, price_exp: int, *, late: bool) -> Seen:
        self.epoch, self.seq, self._price_exp = trade.epoch, trade.seq, price_exp
        self._ticks, self._ts_us = trade.price_ticks, trade.ts_us
        return Seen(trade.epoch, trade.seq, trade.ts_us, price_exp, {"last": trade.price_ticks}, late)

    def feed(self, message: Numbered, scales: Scales, now_us: int) -> tuple[Outcome, list[Crossing]]:
        crossings: list[Crossing] = []
        for trade in self._read("trade", message):
            if (trade.epoch, trade.seq) <= (self.epoch, self.seq) or trade.epoch > now_us + MAX_AHEAD_US:
                continue
            if trade.epoch not in scales:
                return Outcome.NO_SCALE, crossings
            is_hole = bool(self.epoch) and (trade.epoch, trade.seq) != self._next(trade.epoch)
            if is_hole and self._given_up != (trade.epoch, trade.seq):
                self.hole = trade.epoch, trade.seq
                return Outcome.HOLE, crossings
            seen = self._note(trade, scales[trade.epoch], late=is_hole)
            crossings += self._take(seen, message.stored_us)
        self._done(message)
        return Outcome.TAKEN, crossings

    def give_up(self, message: Numbered, outcome: Outcome, *, is_overtaken: bool) -> None:
        if outcome is Outcome.HOLE and not is_overtaken:
            self._given_up = self.hole
        else:
            super().give_up(message, outcome, is_overtaken=is_overtaken)

    def _next(self, epoch: int) -> tuple[int, int]:
        return epoch, self.seq + 1 if epoch == self.epoch else 1

    def is_overtaken(self, messages: Sequence[Numbered]) -> bool:
        values = [value for message in messages for value in self._read("trade", message)]
        return any((value.epoch, value.seq) == (self.epoch, self.seq + 1) for value in values)


def _stored(each: tuple[int, Seen | None]) -> int:
    return each[0]
