"""The delay before the next try, with full jitter, so that clients which lost their connection together do not return together; and when to
try no more."""

from __future__ import annotations

from collections import deque
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


class Contest:
    """Where a subject may have one session, two clients of it that both come back would replace each other for ever. Each call of
    ``is_lost`` is a session that a newer one has replaced."""

    def __init__(self, policy: Policy) -> None:
        self._most = policy.most_replaced
        self._within_s = policy.replaced_within_s
        self._times: deque[float] = deque()

    def is_lost(self, now: float) -> bool:
        """Whether the other one must be left to it."""
        self._times.append(now)
        while self._times[0] < now - self._within_s:
            self._times.popleft()
        return len(self._times) >= self._most
