"""How often each user may publish to a topic, or change a map."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.budget import Budget

MOST: Final = 65_536
"""Users and topics that are remembered; beyond that the one that is unused for longest goes first."""


class TopicBudgets:
    """A token bucket for each user and topic."""

    def __init__(
        self,
        name: str,
        what: str,
        burst: int,
        per_second: float,
        now_s: Callable[[], float],
        every: str = "second",
    ) -> None:
        """``name`` begins the names of the limits, ``what`` says what there is too much of; ``every``: in which time the limit counts
        what refills."""
        self._refusal = f"{what}: {name}_burst is spent, and refills with {name}_per_{every}"
        self._burst = burst
        self._per_second = per_second
        self._now_s = now_s
        self._budgets: dict[tuple[Hashable, str], Budget] = {}
        """Those used last at the end."""

    def __len__(self) -> int:
        return len(self._budgets)

    def charge(self, who: Hashable, topic: str, amount: int = 1) -> None:
        """Raises CommandError ``rate_limited``."""
        now_s = self._now_s()
        budget = self._budgets.pop((who, topic), None)
        if budget is None:
            if len(self._budgets) >= MOST:
                del self._budgets[next(iter(self._budgets))]
            budget = Budget(self._burst, self._per_second, now_s)
        self._budgets[who, topic] = budget
        if not budget.take(now_s, amount):
            raise CommandError(ErrorCode.RATE_LIMITED, self._refusal)
