"""How much of the log those that open may read beyond what they need, so that clients of gateways that are gone can resume here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

REFILL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LookBackOptions:
    """How far a new reader looks back. Times are in seconds."""

    age_s: float = 30.0
    """Trades that are read: of so long ago. A book begins at the oldest snapshot that is kept, a little longer ago."""
    messages: int = 20_000
    """Messages of one stream of one instrument; where there are more, less is read."""
    bytes: int = 16 * 1024 * 1024
    """The same in bytes, as estimated by the newest message."""
    all_messages: int = 300_000
    """Messages of all instruments together at once; as many more within a minute."""
    within_s: float = 15.0
    """How long reading one book may take."""


class LookingBack:
    """What may still be read; an allowance that refills within a minute."""

    def __init__(self, options: LookBackOptions, clock: Callable[[], float]) -> None:
        self.options = options
        self._clock = clock
        self._left = float(options.all_messages)
        self._at = clock()

    def may_read(self, count: int, size: int) -> bool:
        """Whether ``count`` messages of about ``size`` bytes may be read; then they are counted."""
        options = self.options
        if count > options.messages or count * size > options.bytes:
            return False
        now = self._clock()
        refilled = self._left + (now - self._at) * options.all_messages / REFILL_S
        self._left, self._at = min(refilled, float(options.all_messages)), now
        if count > self._left:
            return False
        self._left -= count
        return True
