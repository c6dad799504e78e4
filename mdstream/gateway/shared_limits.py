"""Where the workers of a gateway count together what one address and one user have: shared memory, made by the supervisor.

Keys are hashed with a secret of this start, so that nobody can choose two that meet. Where a table is full, each worker counts what it
has by itself; that takes more addresses or users at a time than anybody is remembered for.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from mdstream._core.base.shared_counts import SharedCounts

ROWS: Final = 131_072
"""Of each of the two tables: twice as many as are remembered, so that a key finds a place at once. Memory is used as rows are."""


class Common:
    """The counts of one scope, of all workers together; the row -1 is none."""

    def __init__(self, counts: SharedCounts, secret: bytes) -> None:
        self._counts = counts
        self._secret = secret

    def hold(self, key: bytes | str) -> int:
        """The row of an address or a user, until ``release``."""
        name = key if isinstance(key, bytes) else key.encode()
        digest = blake2b(name, digest_size=8, key=self._secret).digest()
        return self._counts.hold(int.from_bytes(digest, "little"))

    def release(self, row: int) -> None:
        if row >= 0:
            self._counts.release(row)

    def put(self, row: int, counts: Iterable[int]) -> None:
        """What this worker has: connections, handshakes, subscriptions."""
        if row >= 0:
            for kind, count in enumerate(counts):
                self._counts.put(row, kind, count)

    def elsewhere(self, row: int, kind: int) -> int:
        """What the other workers have."""
        return self._counts.elsewhere(row, kind) if row >= 0 else 0

    def take(self, row: int, rate: int, amount: float, most: float, per_second: float, now_s: float) -> bool:
        """As ``Budget.take``, of all workers together."""
        return self._counts.take(row, rate, amount, most, per_second, now_s)

    def fill(self, row: int) -> None:
        if row >= 0:
            self._counts.fill(row)

    def clear(self, column: int) -> None:
        self._counts.clear(column)


class SharedLimits:
    """Both tables, as one process sees them."""

    def __init__(self, fd: int, columns: int, column: int, secret: bytes) -> None:
        """``fd`` is that of ``create``; ``column`` is of this process alone."""
        size = SharedCounts.size(ROWS, columns)
        memory = memoryview(mmap.mmap(fd, 2 * size))
        self.addresses = Common(SharedCounts(memory[:size], columns, column), secret)
        self.users = Common(SharedCounts(memory[size:], columns, column), secret)

    def clear(self, column: int) -> None:
        """The process of this column has ended: it has nothing any more."""
        self.addresses.clear(column)
        self.users.clear(column)


def create(columns: int) -> int:
    """A descriptor of memory for so many processes; the memory is gone with the last who has it."""
    fd = os.memfd_create("mdstream-limits", os.MFD_CLOEXEC)
    os.ftruncate(fd, 2 * SharedCounts.size(ROWS, columns))
    return fd
