"""A token bucket: a number of tokens at once, and a rate per second in the long run."""

from __future__ import annotations


class Budget:
    """Holds at most ``most`` tokens and refills evenly with ``per_second``; full at first."""

    __slots__ = ("_left", "_most", "_per_second", "_since_s")

    def __init__(self, most: float, per_second: float, now_s: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._since_s = now_s

    def take(self, now_s: float) -> bool:
        """Takes one token; False if there is none left. ``now_s`` never goes back."""
        self._left = min(self._most, self._left + (now_s - self._since_s) * self._per_second)
        self._since_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
