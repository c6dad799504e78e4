"""Whether a connection was a success: then the next one is tried as soon as if none had failed."""

from __future__ import annotations

from mdstream.client.events import Welcome


class Health:
    """Of the present connection. Times are seconds of a monotonic clock."""

    def __init__(self, most_s: float) -> None:
        """``most_s``: how long it must last where the gateway does not ask for less."""
        self._most_s = most_s
        self._since = 0.0
        self.useful = False
        """Data came."""

    def opened(self, now: float) -> None:
        self._since, self.useful = now, False

    def was_good(self, welcome: Welcome | None, wanted: bool, now: float) -> bool:
        """Whether it lasted long enough, and was of use if anything was ``wanted``."""
        if welcome is None or (wanted and not self.useful):
            return False
        asked_ms = welcome.healthy_ms
        return now - self._since >= (self._most_s if asked_ms is None else min(asked_ms / 1000, self._most_s))
