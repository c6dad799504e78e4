"""The clock of a NATS server as it was some time ago, told by a clock that never steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf

MARGIN_US = 20_000
"""How far the clocks of the servers of one cluster may differ."""
STEP_US = 100_000
"""A greater change between two answers is a step of the server's clock, not the time that an answer takes."""


class PastClock:
    """What the server's clock showed ``delay_s`` ago: messages that were stored before it are due now.

    The server's clock may step. So its difference to ours is noted again and again, and each value is used ``delay_s`` after it was
    noted, when the messages come due that were stored then. Nothing is due too early, and little is due late.
    """

    def __init__(self, delay_s: float, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds."""
        self.delay_s = delay_s
        self._clock = clock
        self._noted: deque[tuple[float, int]] = deque()
        """Our time, and the server's time minus ours, in µs."""
        self._has_stepped = False

    @property
    def is_set(self) -> bool:
        """Whether the server's clock is known."""
        return bool(self._noted)

    def note(self, server_us: int) -> None:
        """Call when an answer of the server arrives, with its time: the server's clock shows at least that."""
        now_s = self._clock()
        self._noted.append((now_s, server_us - int(now_s * 1e6)))
        then_s = now_s - self.delay_s
        while len(self._noted) > 1 and self._noted[1][0] <= then_s:
            self._noted.popleft()
        offsets = [offset for _, offset in self._noted]
        self._has_stepped = max(offsets) - min(offsets) > STEP_US

    def now_us(self) -> int:
        """What the server's clock showed then, in µs since the Unix epoch; of two possible values the smaller one."""
        then_s = self._clock() - self.delay_s
        noted, at = self._noted, 0
        while at + 1 < len(noted) and noted[at + 1][0] <= then_s:
            at += 1
        offset_us = min(noted[at][1], noted[min(at + 1, len(noted) - 1)][1])
        return int(then_s * 1e6) + offset_us - MARGIN_US

    def wait_s(self, stored_us: int) -> float:
        """How long until a message that was stored at this time of the server is due; 0 or less: it is."""
        if not self._has_stepped:
            return (stored_us - self.now_us() + 1) / 1e6
        return max(self._stored_at(stored_us + MARGIN_US + 1)) + self.delay_s - self._clock()

    def _stored_at(self, stored_us: int) -> Iterator[float]:
        """When, on our clock, the server's clock may have shown this time: before it stepped, or after."""
        first_s, last_s = self._noted[0][0], self._noted[-1][0]
        spans = [(-inf, first_s, self._noted[0][1]), (last_s, self._clock(), self._noted[-1][1])]
        for (from_s, before), (until_s, after) in pairwise(self._noted):
            spans += [(from_s, until_s, before), (from_s, until_s, after)]
        found = [
            at_s
            for from_s, until_s, offset_us in spans
            if from_s <= (at_s := (stored_us - offset_us) / 1e6) <= until_s
        ]
        # A time that the clock jumped over: as if it had been shown when the clock was read next.
        yield from found or [last_s]
