"""What each user has in maps: whoever may write to many of them does not fill the room of all."""

from __future__ import annotations

from collections import Counter
from typing import Final

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.maps import Change, MapState, size_of

MOST: Final = 65_536
"""Users and topics that are remembered; beyond that the one that was written to longest ago goes first."""


class MapShares:
    """Counts bytes of keys that a user has set, in each map as it was when he last changed it here."""

    def __init__(self, most_bytes: int, most: int = MOST) -> None:
        """``most_bytes`` 0: as many as he likes."""
        self._most_bytes = most_bytes
        self._most = most
        self._seen: dict[tuple[str, str], int] = {}
        """By user and topic; what was written to last at the end."""
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, user: str, topic: str, state: MapState, change: Change) -> None:
        """Raises CommandError ``map_full`` for a change that would give him more than his share."""
        if not self._most_bytes or not user:
            return
        self.note(user, topic, state)
        more = _growth(user, state, change)
        if more > 0 and self._of[user] + more > self._most_bytes:
            raise CommandError(
                ErrorCode.MAP_FULL,
                f"you have {self._of[user]} bytes in maps, and {self._most_bytes} are allowed (max_user_map_bytes); nothing was "
                "changed: delete some first",
            )

    def note(self, user: str, topic: str, state: MapState) -> None:
        """What he has in a map that he has changed."""
        if not self._most_bytes or not user:
            return
        size = state.bytes_of(user)
        self._of[user] += size - self._seen.pop((user, topic), 0)
        if size:
            self._seen[user, topic] = size
            if len(self._seen) > self._most:
                self._forget(*next(iter(self._seen)))
        if not self._of[user]:
            del self._of[user]

    def _forget(self, user: str, topic: str) -> None:
        self._of[user] -= self._seen.pop((user, topic))
        if not self._of[user]:
            del self._of[user]


def _growth(user: str, state: MapState, change: Change) -> int:
    """By how much a change makes more of what is his. What others have set, and he sets again, becomes his."""
    new = sum(size_of(key, value) for key, (value, _) in change.set.items())
    entries = (state.find(key) for key in (*change.set, *change.delete))
    return new - sum(each.size for each in entries if each is not None and each.by == user)
