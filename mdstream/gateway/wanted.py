"""Which instruments must stay open though nobody is subscribed to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

BATCH_NAMES: Final = 4_096


class Batch:
    """What some commands wait for, of about the same time: none of its names is given up before the last of the commands has ended."""

    __slots__ = ("commands", "names")

    def __init__(self) -> None:
        self.commands = 0
        self.names: set[str] = set()


class Wanted:
    """Instruments that a subscribe waits for, or a board shows, and how many do.

    Commands may have hundreds of names, and hundreds of thousands together. So their names are kept in batches: to give up those of one
    command takes no look at them, and no table becomes so large that to enlarge it would hold up the loop.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        """Of boards."""
        self._batches: dict[Batch, None] = {}
        self._newest = Batch()

    def __contains__(self, name: str) -> bool:
        return name in self._counts or any(name in batch.names for batch in self._batches)

    def __len__(self) -> int:
        """Names, those of each batch for themselves."""
        return len(self._counts) + sum(len(batch.names) for batch in self._batches)

    def hold(self, names: Iterable[str]) -> Batch:
        """For a command, until ``give_up``."""
        batch = self._newest
        if len(batch.names) >= BATCH_NAMES or not batch.commands:
            batch = self._newest = Batch()
            self._batches[batch] = None
        batch.commands += 1
        batch.names.update(names)
        return batch

    def give_up(self, batch: Batch) -> None:
        batch.commands -= 1
        if not batch.commands:
            del self._batches[batch]

    def add(self, names: Iterable[str]) -> None:
        """For a board, until ``remove``."""
        self._counts.update(names)

    def remove(self, names: Iterable[str]) -> None:
        counts = self._counts
        for name in names:
            left = counts[name] - 1
            if left:
                counts[name] = left
            else:
                del counts[name]
        if not counts:
            self._counts = Counter()  # a dict keeps the room of its most entries
