"""Rows that change, numbered: what has changed, and what is gone, since any number that is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K", int, str)
R = TypeVar("R")

MOST_GONE: Final = 4_096
"""Keys of removed rows that are remembered; who lacks older ones needs everything."""


class RowLog(Generic[K, R]):
    """``put`` and ``remove`` rows, then ``commit`` them under the next number, or ``advance`` where the rows came with numbers. Of each row
    the number of its last change is kept, so a log of any length costs nothing more."""

    def __init__(self) -> None:
        self.seq = 0
        """The number of the last commit."""
        self._rows: dict[K, tuple[int, R]] = {}
        """In the order of their last change, each with its number."""
        self._gone: dict[K, int] = {}
        """In the order in which they went."""
        self._reaches = 0
        self._is_changed = False

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: K) -> bool:
        return key in self._rows

    def find(self, key: K) -> R | None:
        found = self._rows.get(key)
        return None if found is None else found[1]

    def keys(self) -> list[K]:
        return list(self._rows)

    def put(self, key: K, row: R, seq: int = 0) -> None:
        """A new row, or a new state of one; by default under the next number."""
        self._rows.pop(key, None)
        self._rows[key] = seq or self.seq + 1, row
        self._gone.pop(key, None)
        self._is_changed = True

    def remove(self, key: K, seq: int = 0) -> None:
        if self._rows.pop(key, None) is None:
            return
        self._gone[key] = seq or self.seq + 1
        if len(self._gone) > MOST_GONE:
            oldest = next(iter(self._gone))
            self._reaches = self._gone.pop(oldest)
        self._is_changed = True

    def commit(self) -> bool:
        """Whether anything has changed, which then has a number."""
        changed, self._is_changed = self._is_changed, False
        self.seq += changed
        return changed

    def advance(self, seq: int) -> None:
        """All that has happened up to this number is in it."""
        self._is_changed, self.seq = False, seq

    def begin(self, seq: int) -> None:
        """Nothing is known of what went up to this number."""
        self.seq = self._reaches = seq

    def reaches(self, since: int) -> bool:
        """Whether it is known what is gone since that number."""
        return self._reaches <= since <= self.seq

    def rows(self) -> Iterator[tuple[K, R]]:
        for key, (_, row) in self._rows.items():
            yield key, row

    def changed(self, since: int) -> list[tuple[K, R]]:
        """The rows that have changed since a number, in no particular order."""
        found = []
        for key in reversed(self._rows):
            number, row = self._rows[key]
            if number <= since:
                break
            found.append((key, row))
        return found

    def gone(self, since: int) -> list[K]:
        """The keys of rows that have gone since a number, and are not there again."""
        found = []
        for key in reversed(self._gone):
            if self._gone[key] <= since:
                break
            found.append(key)
        return found
