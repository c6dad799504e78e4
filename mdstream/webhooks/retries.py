"""When a batch that a receiver has not taken is sent again, and when it is given up; without I/O."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

FIRST_S: Final = 1.0
MOST_S: Final = 300.0
"""Between two attempts, if the receiver names no time."""
MOST_ASKED_S: Final = 3_600.0
"""Of the time that a receiver names in ``Retry-After``."""


class Retries:
    """Of one batch: each wait is about twice the one before it, from ``FIRST_S`` to ``MOST_S``, and at least half of that by chance."""

    def __init__(
        self,
        give_up_s: float,
        now_s: Callable[[], float],
        *,
        first_s: float = FIRST_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._until_s = now_s() + give_up_s
        self._now_s = now_s
        self._next_s = first_s
        self._chance = chance

    def wait_s(self, asked_s: float | None) -> float | None:
        """How long to wait now; None: it is given up. ``asked_s``: what the receiver asks for."""
        wait_s = self._next_s * (0.5 + self._chance() / 2)
        self._next_s = min(self._next_s * 2, MOST_S)
        wait_s = max(wait_s, min(asked_s or 0.0, MOST_ASKED_S))
        return None if self._now_s() + wait_s >= self._until_s else wait_s


def asked_of(retry_after: str | None, wall_s: float) -> float | None:
    """What ``Retry-After`` asks for, in seconds from now: it is a number of seconds or a date. None for neither."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(at.timestamp() - wall_s, 0.0)
