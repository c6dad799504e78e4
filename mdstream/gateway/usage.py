"""Counts who uses what in each minute, without I/O: from the beginning and the end of subscriptions, never from what is delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from mdstream.bus.usage import Use
from mdstream.model import MAX_NUMBER, Channel

_FULL: Final = MAX_NUMBER
"""In place of depth 0, the full book: no depth is greater."""
_NO_BOOK: Final = 0
_LEVELS: Final[dict[str, int]] = {
    Channel.TRADES: _NO_BOOK,
    Channel.CANDLES: _NO_BOOK,
    Channel.TICKER: 1,
}


class Part(NamedTuple):
    """What one subscription adds to a use."""

    subject: str
    instrument: str
    delay_ms: int
    depth: int
    """0: no levels at all; ``_FULL``: all."""


def part_of(subject: str, instrument: str, channel: str, depth: int, delay_ms: int) -> Part:
    """Trades and candles show no level of a book, a ticker the best one."""
    return Part(subject, instrument, delay_ms, _LEVELS.get(channel, depth or _FULL))


class _Count:
    """The subscriptions of one user to one instrument with one delay."""

    __slots__ = ("depths", "greatest", "period")

    def __init__(self, period: int) -> None:
        self.depths: dict[int, int] = {}
        """How many there are now of each depth."""
        self.greatest = _NO_BOOK
        """In the period; from there on, until something changes, the greatest of ``depths``."""
        self.period = period


class Usage:
    """Minutes are counted from the Unix epoch. A period is a minute, unless the clock stands still, is set, or the process sleeps."""

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self._period = 0
        self._counts: dict[str, dict[tuple[str, int], _Count]] = {}
        """By instrument, then by subject and delay."""
        self._moved_on: dict[int, list[Use]] = {}
        """By period: what is to be told of it, of counts that have changed since."""

    def begin(self, part: Part) -> None:
        """A subscription begins now."""
        counts = self._counts.setdefault(part.instrument, {})
        count = counts.get((part.subject, part.delay_ms))
        if count is None:
            count = counts[part.subject, part.delay_ms] = _Count(self._period)
        self._move_on(count, part)
        count.depths[part.depth] = count.depths.get(part.depth, 0) + 1
        count.greatest = max(count.greatest, part.depth)

    def end(self, part: Part) -> None:
        """A subscription that has begun ends now."""
        count = self._counts[part.instrument][part.subject, part.delay_ms]
        self._move_on(count, part)
        count.depths[part.depth] -= 1
        if not count.depths[part.depth]:
            del count.depths[part.depth]

    def close(self, minute: int) -> tuple[int, Iterator[Use]]:
        """Ends the present minute and begins this one. Returns the ended one, and what was used in it: read all of it, and read
        the uses of one minute before those of the next. In between, subscriptions may begin and end."""
        ended, period = self.minute, self._period
        self.minute = minute
        self._period += 1
        return ended, self._uses(period)

    def _move_on(self, count: _Count, part: Part) -> None:
        """Brings a count to the present period, and keeps what is to be told of the earlier ones."""
        for period in range(count.period, self._period):
            use = _use(part.subject, part.instrument, count.greatest, part.delay_ms)
            self._moved_on.setdefault(period, []).append(use)
            count.greatest = max(count.depths, default=_NO_BOOK)
            if not count.depths:
                break
        count.period = self._period

    def _uses(self, period: int) -> Iterator[Use]:
        for instrument, counts in list(self._counts.items()):
            for (subject, delay_ms), count in list(counts.items()):
                if count.period == period:
                    use = _use(subject, instrument, count.greatest, delay_ms)
                    self._end_period(count, counts, (subject, delay_ms))
                    yield use
            if not counts and self._counts.get(instrument) is counts:
                del self._counts[instrument]
        yield from self._moved_on.pop(period, ())

    def _end_period(self, count: _Count, counts: dict[tuple[str, int], _Count], key: tuple[str, int]) -> None:
        if count.depths:
            count.period += 1
            count.greatest = max(count.depths)
        else:
            del counts[key]


def _use(subject: str, instrument: str, greatest: int, delay_ms: int) -> Use:
    depth = None if greatest == _NO_BOOK else 0 if greatest == _FULL else greatest
    return Use(subject, instrument, depth, delay_ms)
