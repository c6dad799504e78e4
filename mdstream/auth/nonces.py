"""Nonces of signed requests, each good once: bounded for each key and in all, without I/O."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

MAX_NONCES: Final = 100_000
"""Remembered, of all keys; only those of valid signatures are."""
MAX_NONCES_OF_KEY: Final = 10_000
"""Beyond it a key opens nothing for a while, and other keys do: 160 logins a second."""


class Nonces:
    """What was used within the last ``kept_s``. Where there is no room nothing new is good, rather than something twice."""

    def __init__(self, kept_s: float, now_s: Callable[[], float]) -> None:
        self._kept_s = kept_s
        self._now_s = now_s
        self._used: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._of_key: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._used)

    def use(self, key: str, nonce: str) -> bool:
        """False if it was used before, here or elsewhere, or cannot be remembered."""
        now_s = self._now_s()
        while self._used and next(iter(self._used.values())) <= now_s:
            self._forget_oldest()
        if (key, nonce) in self._used:
            return False
        if len(self._used) >= MAX_NONCES or self._of_key[key] >= MAX_NONCES_OF_KEY:
            return False
        self._used[key, nonce] = now_s + self._kept_s
        self._of_key[key] += 1
        return True

    def _forget_oldest(self) -> None:
        (key, _), _ = self._used.popitem(last=False)
        self._of_key[key] -= 1
        if not self._of_key[key]:
            del self._of_key[key]
