"""Messages of a venue that cannot be understood: each costs what it was about, several cost the connection. No I/O."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from mdstream.errors import FeedError

log = logging.getLogger("mdstream.feeds")

MOST = 5
WITHIN_S = 60.0
"""More than ``MOST`` within this time: the venue speaks another language than we do, or the connection is broken."""


class Garbled:
    """Counts and logs them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        """Since the start."""
        self._clock = clock
        self._lately: deque[float] = deque(maxlen=MOST)

    def note(self, error: FeedError) -> None:
        """One has come. Raises FeedError if there are too many: the connection must be made again."""
        self.count += 1
        now = self._clock()
        if len(self._lately) == MOST and now - self._lately[0] <= WITHIN_S:
            self._lately.clear()
            raise FeedError(
                f"more than {MOST} messages within {WITHIN_S:g} s cannot be understood, the last: {error}"
            )
        self._lately.append(now)
        log.error("a message of the venue is passed over: %s", error)
