"""What an answer will cost, before it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mdstream._core.codec.deflate import MOST_COMPRESSED
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.instrument import Instrument

_BYTES_PER_LEVEL = (28, 9)
"""In JSON and in MessagePack: about what the books of real venues take."""
_BYTES_PER_MESSAGE = 100
_BOOK = Channel.BOOK
_COMPRESSED_WEIGHT = 4
"""So many bytes a byte counts as that is compressed: zlib takes some 20 ns for it, so that 2 MiB a second are about 5 % of a core."""
WAIT_LEVELS = 100
"""What it costs to wait for an instrument that a client resumes, as many levels."""
_LEAST_LEVELS = 10
"""A message costs as much as so many levels, be it empty."""


class Work(NamedTuple):
    """Levels (or changes, or trades) that are read, and those that are sent; upper bounds, but for what others ask for too."""

    read: int
    sent: int

    def answer_bytes(self, format: int, compressed: bool, echo: int = 0) -> int:
        """About how many bytes are sent in one message that repeats ``echo`` bytes of the command, weighed."""
        return weighed(_BYTES_PER_MESSAGE + echo + self.sent * _BYTES_PER_LEVEL[format], compressed)


def weighed(size: int, compressed: bool) -> int:
    """How many bytes of a budget a message of this size takes; ``compressed``: to a client whose messages are. What is beyond the largest
    message that is compressed counts once, as an estimate may be on either side of it."""
    return size + (_COMPRESSED_WEIGHT - 1) * min(size, MOST_COMPRESSED) if compressed else size


def of_answer(instrument: Instrument, channel: str, depth: int, group: int, since: int | None) -> Work:
    """What leads one client from number ``since`` to now; None: a snapshot."""
    if channel == _BOOK:
        return _of_book(instrument, depth, group, since)
    if channel == Channel.TRADES and since is not None:
        trades = instrument.trades
        count = min(len(trades), max(trades.seq - since, 0))
        return Work(count + _LEAST_LEVELS, count)
    return Work(_LEAST_LEVELS, 0)


def of_beginning(
    instrument: Instrument, channel: str, depth: int, format: int, echo: int = 0
) -> tuple[int, int]:
    """Levels that are read and bytes (not weighed) that are sent for a new subscription to an ungrouped view: what ``of_answer`` says,
    quicker."""
    sent = 0
    if channel == _BOOK:
        sent = len(instrument.book)
        if 0 < 2 * depth < sent:
            sent = 2 * depth
    return sent + _LEAST_LEVELS, _BYTES_PER_MESSAGE + echo + sent * _BYTES_PER_LEVEL[format]


def _of_book(instrument: Instrument, depth: int, group: int, since: int | None) -> Work:
    book = instrument.book
    levels = len(book)
    shown = min(2 * depth, levels) if depth else levels
    snapshot = Work((levels if group > 1 else shown) + _LEAST_LEVELS, shown)
    changes = None if since is None else book.logged_since(since)
    if changes is None:
        return snapshot
    if depth or group > 1:
        return Work(changes + snapshot.read, min(changes, shown))  # the view as it was, from the present one
    # Where the changes are many, a snapshot is made too, and the shorter of the two is sent.
    return Work(changes + (snapshot.read if 2 * changes > shown else _LEAST_LEVELS), min(changes, shown))
