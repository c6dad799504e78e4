"""Whether somebody writes the candles of an instrument, as those who follow them are told; without I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mdstream.gateway import messages
from mdstream.model import State, StateCode

SILENT_S: Final = 90.0
"""A writer stores the statistics of an instrument each minute, trades or not, while the last 24 hours have any."""
_REASONS: Final = {
    StateCode.SILENT: "nobody writes candles now: `mdstream candles` has not been heard",
    StateCode.NATS_AWAY: "NATS is away",
}


class CandlePulse:
    """Tell it what is heard, and ``look`` now and then."""

    def __init__(self, wall_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._heard_s = float("inf")
        """By a monotonic clock; infinite: nothing is expected."""
        self._code: StateCode | None = None
        self._since_us = wall_us()

    @property
    def is_live(self) -> bool:
        return self._code is None

    def heard(self, at_s: float, *, goes_on: bool) -> None:
        """The writer stored something then. ``goes_on``: it will again within a minute."""
        self._heard_s = at_s if goes_on else float("inf")

    def look(self, now_s: float, *, connected: bool) -> bool:
        """Whether that changes what is told."""
        code = None if connected else StateCode.NATS_AWAY
        if connected and now_s - self._heard_s > SILENT_S:
            code = StateCode.SILENT
        if code is self._code:
            return False
        self._code, self._since_us = code, self._wall_us()
        return True

    def message(self, sub: int, now_s: float) -> messages.Message:
        """The ``state`` of a subscription."""
        state = State.LIVE if self._code is None else State.STALE
        is_known = self._heard_s != float("inf")
        age_ms = max(int((now_s - self._heard_s) * 1000), 0) if is_known else None
        reason = None if self._code is None else _REASONS[self._code]
        return messages.state(sub, state, self._since_us, self._code, age_ms, reason)
