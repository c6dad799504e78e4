"""Places that all clients share, such as those of topics that are followed: one who wants them all leaves room for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final, NamedTuple

GIVE_UP_S: Final = 1.0
"""Between two looks for what can be given up, where one asks for more than he may have while there is room for others."""


class Asker(NamedTuple):
    """For whom something is opened. ``is_counted`` False: he may have all there is, as who comes from an exempt address."""

    key: Hashable
    is_counted: bool


GATEWAY: Final = Asker(None, is_counted=False)
"""The gateway itself."""


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

    def has_room(self, asker: Asker) -> bool:
        free = self._most - self._taken
        return free > (self._of[asker.key] if asker.is_counted else 0)

    def should_give_up(self, asker: Asker, now_s: float) -> bool:
        """Whether it is time to look which places nobody needs any more."""
        if self.has_room(asker) or (self.has_room(GATEWAY) and now_s - self._looked_s < GIVE_UP_S):
            return False
        self._looked_s = now_s
        return True

    def take(self, asker: Asker) -> None:
        self._taken += 1
        if asker.is_counted:
            self._of[asker.key] += 1

    def release(self, asker: Asker) -> None:
        self._taken -= 1
        if asker.is_counted:
            self._of[asker.key] -= 1
            if not self._of[asker.key]:
                del self._of[asker.key]
