"""What an answer will cost, before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mdstream._core.entry.costs import (
    BYTES_PER_LEVEL,
    BYTES_PER_MESSAGE,
    LEAST_LEVELS,
    of_beginning,
    weighed,
)
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.instrument import Instrument

__all__ = ["WAIT_LEVELS", "Work", "of_answer", "of_beginning", "weighed"]

_BOOK = Channel.BOOK
WAIT_LEVELS = 100
"""What it costs to wait for an instrument that a client resumes, as many levels."""


class Work(NamedTuple):
    """Levels (or changes, or trades) that are read, and those that are sent; upper bounds, but for what others ask for too."""

    read: int
    sent: int

    def answer_bytes(self, format: int, compressed: bool, echo: int = 0) -> int:
        """About how many bytes are sent in one message that repeats ``echo`` bytes of the command, weighed."""
        return weighed(BYTES_PER_MESSAGE + echo + self.sent * BYTES_PER_LEVEL[format], compressed)


def of_answer(instrument: Instrument, channel: str, depth: int, group: int, since: int | None) -> Work:
    """What leads one client from number ``since`` to now; None: a snapshot."""
    if channel == _BOOK:
        return _of_book(instrument, depth, group, since)
    if channel == Channel.TRADES and since is not None:
        trades = instrument.trades
        count = min(len(trades), max(trades.seq - since, 0))
        return Work(count + LEAST_LEVELS, count)
    return Work(LEAST_LEVELS, 0)


def _of_book(instrument: Instrument, depth: int, group: int, since: int | None) -> Work:
    book = instrument.book
    levels = len(book)
    shown = min(2 * depth, levels) if depth else levels
    snapshot = Work((levels if group > 1 else shown) + LEAST_LEVELS, shown)
    changes = None if since is None else book.logged_since(since)
    if changes is None:
        return snapshot
    if depth or group > 1:
        return Work(changes + snapshot.read, min(changes, shown))  # the view as it was, from the present one
    # Where the changes are many, a snapshot is made too, and the shorter of the two is sent.
    return Work(changes + (snapshot.read if 2 * changes > shown else LEAST_LEVELS), min(changes, shown))
