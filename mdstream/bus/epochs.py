"""Which epoch of an instrument is read, in which scale, and which greater one waits; without I/O.

Values of an epoch are read by the ``ref`` of that epoch only. An epoch is known, and the smaller one ends, once its ``ref`` and
a snapshot or update of it were accepted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from mdstream.errors import FeedError
from mdstream.model import Ref

AHEAD_US = 3_600_000_000
"""An epoch that is not known yet may be this far ahead of the wall clock, in µs."""
MOST_PENDING = 8
"""References of greater epochs that are remembered."""


class Told(enum.Enum):
    """What a ``ref`` means to a reader."""

    NOTHING = enum.auto()
    CHANGED = enum.auto()
    """Tick, lot, name or an extra key are new, or the contradiction before it is over."""
    CONTRADICTS = enum.auto()
    """Another scale within the epoch."""
    PENDING = enum.auto()
    """Of a greater epoch, which begins with its first snapshot or update."""
    FENCED = enum.auto()


class Epochs:
    """The epoch that is read (``current``), its ``ref``, and what is known of greater ones."""

    def __init__(self, ref: Ref, wall_clock_us: Callable[[], int]) -> None:
        """Raises FeedError if the epoch of ``ref`` is not plausible."""
        self._wall_clock_us = wall_clock_us
        self._pending: dict[int, Ref] = {}
        self.contradicted = False
        """A ``ref`` of the current epoch had another scale, and none since had the known one."""
        self.waiting = 0
        """The greatest epoch of which values came, but no ``ref``; 0: none."""
        self._unread = 0
        """The greatest of those of which a snapshot or update came."""
        check_plausible(ref.epoch, wall_clock_us())
        self.ref = ref

    @property
    def current(self) -> int:
        return self.ref.epoch

    def announce(self, ref: Ref) -> Told:
        """Takes a ``ref``. Raises FeedError if its epoch is not plausible."""
        if ref.epoch < self.current:
            return Told.FENCED
        if ref.epoch > self.current:
            check_plausible(ref.epoch, self._wall_clock_us())
            self._pending.setdefault(ref.epoch, ref)
            while len(self._pending) > MOST_PENDING:
                del self._pending[min(self._pending)]
            return Told.PENDING
        if scale(ref) != scale(self.ref):
            self.contradicted = True
            return Told.CONTRADICTS
        changed = self.contradicted or ref != self.ref
        self.contradicted = False
        self.ref = ref
        return Told.CHANGED if changed else Told.NOTHING

    def may_begin(self, epoch: int, *, has_book: bool = True) -> bool:
        """Whether a snapshot or update of a greater epoch begins it; if not, its ``ref`` is missing: ask for it.

        ``has_book``: such a value came. A trade or a ``status`` alone asks for the ``ref``, and begins nothing. Raises FeedError
        if the epoch is not plausible.
        """
        if epoch in self._pending:
            return True
        check_plausible(epoch, self._wall_clock_us())
        self.waiting = max(self.waiting, epoch)
        if has_book:
            self._unread = max(self._unread, epoch)
        return False

    def is_unread(self, epoch: int) -> bool:
        """Whether a snapshot or update of a greater epoch came before its ``ref``: with that, it begins."""
        return epoch == self._unread

    def is_rescaled(self, epoch: int) -> bool:
        """Whether an epoch that may begin has another scale than the current one."""
        return scale(self._pending[epoch]) != scale(self.ref)

    def pending(self, epoch: int) -> Ref | None:
        return self._pending.get(epoch)

    def begin(self, epoch: int) -> None:
        """The epoch has begun."""
        self.ref = self._pending[epoch]
        self._pending = {other: ref for other, ref in self._pending.items() if other > epoch}
        self.contradicted = False
        if self.waiting <= epoch:
            self.waiting = 0
        if self._unread <= epoch:
            self._unread = 0

    def stop_waiting(self) -> None:
        """The ``ref`` that was waited for is known, or what was of a greater epoch was a stray message: the current one goes on."""
        self.waiting = self._unread = 0


def scale(ref: Ref) -> tuple[int, int]:
    return ref.price_exp, ref.size_exp


def is_plausible(epoch: int, wall_us: int) -> bool:
    """False for an epoch too far ahead of the wall clock: no writer has claimed it by a clock."""
    return epoch <= wall_us + AHEAD_US


def check_plausible(epoch: int, wall_us: int) -> None:
    """Raises FeedError for an epoch that is not plausible."""
    if not is_plausible(epoch, wall_us):
        raise FeedError(
            f"epoch {epoch} is {(epoch - wall_us) / 3.6e9:.1f} hours ahead of this machine's clock, more than 1"
        )
