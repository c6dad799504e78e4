"""Places that all clients share, such as those of topics that are followed: one who wants them all leaves room for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

GIVE_UP_S: Final = 1.0
"""Between two looks for what can be given up, where one asks for more than he may have while there is room for others."""


class FairPlaces:
    """Counts what was opened for whom. Who has as many as are free may have no more: one alone leaves half of all places, two a
    third, and who has few finds a place."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._of: Counter[Hashable] = Counter()
        self._looked_s = float("-inf")

    def __len__(self) -> int:
        """Those for whom anything is counted."""
        return len(self._of)

    def has_room(self, who: Hashable | None) -> bool:
        """``who`` None: nobody counts what he has."""
        free = self._most - self._taken
        return free > 0 if who is None else free > self._of[who]

    def should_give_up(self, who: Hashable | None, now_s: float) -> bool:
        """Whether it is time to look which places nobody needs any more."""
        if self.has_room(who) or (self.has_room(None) and now_s - self._looked_s < GIVE_UP_S):
            return False
        self._looked_s = now_s
        return True

    def take(self, who: Hashable | None) -> None:
        self._taken += 1
        if who is not None:
            self._of[who] += 1

    def release(self, who: Hashable | None) -> None:
        self._taken -= 1
        if who is not None:
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
