"""The delay before the next try. It has full jitter, so that clients which lost their connection together do not return together."""

from __future__ import annotations

from collections.abc import Callable

from mdstream.client.policy import Policy


class Backoff:
    """Random delays from ``[0, min(cap, base · 2^attempt))``; each delay counts as an attempt until ``reset``.

    ``random`` returns a float in [0, 1). Times are in seconds.
    """

    def __init__(self, random: Callable[[], float], *, base_s: float, cap_s: float) -> None:
        self._random = random
        self._base_s = base_s
        self._cap_s = cap_s
        self.attempt = 0

    @classmethod
    def of(cls, random: Callable[[], float], policy: Policy) -> Backoff:
        return cls(random, base_s=policy.backoff_base_s, cap_s=policy.backoff_cap_s)

    def next_delay(self) -> float:
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self.attempt, 60))
        self.attempt += 1
        return self._random() * ceiling

    def reset(self) -> None:
        self.attempt = 0
