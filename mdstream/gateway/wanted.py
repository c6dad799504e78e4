"""Which instruments must stay open though nobody is subscribed to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Wanted:
    """Instruments that a subscribe waits for, or a board shows, and how many do."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __contains__(self, name: str) -> bool:
        return name in self._counts

    def add(self, names: Iterable[str]) -> None:
        """Until ``remove``."""
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
