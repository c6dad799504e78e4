"""The book that follows from the updates, and its comparison with what a snapshot says."""

from __future__ import annotations

import re
from collections import deque
from itertools import zip_longest

from mdstream._core.codec.feed_decoder import BookValue, SnapValue
from mdstream._core.codec.feed_encoder import pack_snap
from mdstream._core.orderbook.book import Book
from mdstream.errors import BookError

HELD = 10_000
"""Updates that are kept until a snapshot makes the book known."""

_BEST = re.compile(r"best bid (-?\d+) ticks.* best ask (-?\d+) ticks")


class BookFollower:
    """Applies updates while the book is known: from number 1, or from a snapshot."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._book = Book(name)
        self._held: deque[BookValue] = deque(maxlen=HELD)
        self.known = False
        self.compared = 0
        """Snapshots that were compared with the updates."""

    def begin(self, epoch: int) -> None:
        """The book of a new epoch is empty."""
        self._book.reset(epoch)
        self._held.clear()
        self.known = True

    def lose(self) -> None:
        """The book is not known until the next snapshot."""
        self.known = False

    def apply(self, update: BookValue) -> tuple[str, str] | None:
        """Applies the next update; the broken rule and what is wrong if the book must refuse it."""
        if not self.known:
            self._held.append(update)
            return None
        try:
            self._book.apply(update.first, update.last, update.ts_us, update.bids, update.asks)
        except BookError as error:
            self.lose()
            return broken(error, self._name)
        return None

    def take(self, snap: SnapValue) -> tuple[str, str] | None:
        """Compares a snapshot with the updates, or begins with it; the broken rule and what is wrong if there is one."""
        scratch = Book(self._name)
        try:
            scratch.load(snap.epoch, snap.seq, snap.ts_us, snap.bids, snap.asks)
        except BookError as error:
            return broken(error, self._name)
        if self.known and snap.seq <= self._book.seq:
            return self._compare(snap)
        self._load(scratch, snap.seq)
        return None

    def snap_bytes(self) -> int:
        """How large a snapshot of this book is; 0 if the book is not known."""
        view = self._book.view() if self.known else None
        if view is None:
            return 0
        return len(pack_snap(max(self._book.epoch, 1), self._book.seq, self._book.ts_us, *view))

    def _load(self, loaded: Book, seq: int) -> None:
        self._book, self.known = loaded, True
        held, self._held = self._held, deque(maxlen=HELD)
        for update in held:
            if update.last <= seq:
                continue
            if not self.known or update.first > self._book.seq + 1:
                self.lose()
                self._held.append(update)
            else:
                self.apply(update)

    def _compare(self, snap: SnapValue) -> tuple[str, str] | None:
        view = self._book.view(at=snap.seq)
        if view is None:
            return None
        self.compared += 1
        for side, ours, theirs in zip(("bid", "ask"), view, (snap.bids, snap.asks), strict=True):
            if ours != theirs:
                return "snap_differs", f"at {snap.seq}: {_first_difference(side, ours, theirs)}"
        return None


def broken(error: BookError, name: str) -> tuple[str, str]:
    """The rule that an update or a snapshot breaks, and what is wrong."""
    text = str(error).removeprefix(f"{name} ")
    if found := _BEST.search(text):
        return "crossed", text.replace("would cross", "would lock") if found[1] == found[2] else text
    if "levels a side" in text:
        return "too_deep", text
    return "snap_order", text


def _first_difference(side: str, ours: list[int], theirs: list[int]) -> str:
    pairs = zip_longest(_levels(ours), _levels(theirs))
    number, (mine, yours) = next((n, both) for n, both in enumerate(pairs) if both[0] != both[1])
    return f"{side} {number} is {_level(yours)}, by the updates {_level(mine)}"


def _levels(flat: list[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _level(level: tuple[int, int] | None) -> str:
    return "not there" if level is None else f"{level[1]} lots at {level[0]} ticks"
