"""Tells from the arrival of data whether a venue still sends: per connection and per instrument. No I/O.

A venue can answer pings and send nothing. Which silence is usual is learnt: the bound is a multiple of the longest silence of the last
minutes, within limits. Whether an overdue instrument is quiet or dead is for the caller to find out: from a sister instrument on the
same connection, or by a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

LEAST_S = 10.0
"""No silence is overdue before this time."""
MOST_S = 60.0
"""Every silence is overdue after this time, and so is one of which nothing is learnt yet."""
FACTOR = 3.0
"""The bound is so many times the longest silence."""
LIVELY = 5.0
HALF_LIFE_S = 600.0
"""The longest silence counts half after this time."""
HELD_UP_S = 5.0
"""A check that comes so much later than the last one finds us held up, not the venue."""
LEARNT = 10
"""Messages after which the longest silence counts."""
MOST_PATIENCE_S = 600.0
"""Connections that bring nothing are renewed less and less often, but at least this often."""


class Overdue(NamedTuple):
    """What has been silent for longer than its bound."""

    connection: bool
    instruments: tuple[str, ...]


class _Course:
    """The arrivals of one instrument, or of a connection."""

    __slots__ = ("last", "longest_s", "messages", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        """When the present silence began: the last message, or the opening."""
        self.last: float | None = None
        self.longest_s = 0.0
        self.messages = 0

    def open(self, now: float) -> None:
        """The silence between two connections is not the venue's."""
        self.last, self.since = None, now

    def note(self, now: float) -> None:
        if self.last is not None:
            silence_s = now - self.last
            self.longest_s = max(silence_s, self.longest_s * 0.5 ** (silence_s / HALF_LIFE_S))
        self.last = self.since = now
        self.messages += 1

    def bound_s(self, least_s: float, most_s: float) -> float:
        if self.messages < LEARNT:
            return most_s
        return min(max(FACTOR * self.longest_s, least_s), most_s)


class ProgressWatch:
    """Watches one connection and its instruments. Call ``check`` about once a second."""

    def __init__(
        self,
        *,
        least_s: float = LEAST_S,
        most_s: float = MOST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._clock = clock
        self._courses: dict[str, _Course] = {}
        self._checked = clock()
        self._connection = _Course(self._checked)
        self._fruitless = -1
        """Connections since the last message, without the first."""

    def opened(self, instruments: Iterable[str]) -> None:
        """A connection is open: silence counts from now. What was learnt of these instruments is kept."""
        now = self._clock()
        self._fruitless += 1
        self._connection.open(now)
        self._courses = {name: self._courses.get(name) or _Course(now) for name in instruments}
        for course in self._courses.values():
            course.open(now)

    def note(self, instrument: str | None) -> None:
        """Data of this instrument has come, and so the connection lives. None: data that says nothing of an instrument's progress."""
        self._fruitless = -1
        self._connection.note(self._clock())
        if instrument is not None:
            self.excuse(instrument)

    def excuse(self, instrument: str) -> None:
        """The silence of this instrument until now was usual, as a request has shown; of the connection it says nothing."""
        course = self._courses.get(instrument)
        if course is not None:
            course.note(self._clock())

    def check(self) -> Overdue:
        """What is overdue, each time until it is noted or opened.

        Nothing is overdue if we have not checked for a while: then we were held up, not the venue, and its messages wait unread.
        """
        now = self._clock()
        held_up, self._checked = now - self._checked > HELD_UP_S, now
        if held_up:
            return Overdue(False, ())
        return Overdue(self._late(self._connection, now, max(self._fruitless, 0)), self.overdue())

    def overdue(self) -> tuple[str, ...]:
        """The instruments that are silent for longer than their bounds."""
        now = self._clock()
        return tuple(name for name, course in self._courses.items() if self._late(course, now, 0))

    def _late(self, course: _Course, now: float, doublings: int) -> bool:
        bound_s: float = course.bound_s(self._least_s, self._most_s) * 2 ** min(doublings, 16)
        return now - course.since >= min(bound_s, max(MOST_PATIENCE_S, self._most_s))

    def silence_s(self, instrument: str | None = None) -> float:
        """How long an instrument, or the connection, has been silent; since the opening if nothing came."""
        course = self._connection if instrument is None else self._courses[instrument]
        return self._clock() - course.since

    def lively(self, instrument: str | None = None) -> bool:
        """Whether an instrument, or the connection, sends so often that the least bound is many times its longest silence.

        Its silence beyond the bound is no chance. Of others a longer silence than before may be chance.
        """
        course = self._connection if instrument is None else self._courses[instrument]
        return course.messages >= LEARNT and LIVELY * course.longest_s <= self._least_s
