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

    def take(self, now_s: float, amount: float = 1) -> bool:
        """Takes tokens; False if there are too few. ``now_s`` never goes back.

        More than it can hold is given when it is full, and owed.
        """
        self._left = min(self._most, self._left + (now_s - self._since_s) * self._per_second)
        self._since_s = now_s
        if self._left < min(amount, self._most):
            return False
        self._left -= amount
        return True
