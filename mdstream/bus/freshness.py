"""How old the venue's last word on an instrument is, and who is silent; without I/O, on a monotonic clock that is passed in.

Only what was accepted counts. The clocks of two machines are never compared: an age is the difference of two times of the writer,
plus what has passed here since.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from mdstream._core.codec.feed_decoder import StatusValue
from mdstream.model import StateCode


class Freshness:
    """The signs of life of one instrument. Silence begins when this is made."""

    def __init__(
        self, clock: Callable[[], float], limit_s: float | None, heard_us: Callable[[], int] = lambda: 0
    ) -> None:
        """``limit_s``: how old the venue's last word may become; None: as old as it wants. ``heard_us``: when the core last noted,
        without telling, that it accepted an update; 0: never."""
        self._clock = clock
        self.limit_s = inf if limit_s is None else limit_s
        self._heard_us = heard_us
        self._noted_us = 0
        self._word_at = self._writer_at = clock()
        self._is_known = self._writer_is_known = False
        self._fenced_at: float | None = None
        self._tells_heard = False

    def updated(self, ago_s: float = 0.0) -> None:
        """An update or a trade was accepted: it is the venue's word, and the writer's."""
        at = self._clock() - ago_s
        self._hear_writer(at)
        self._hear_venue(at)

    def told(self, status: StatusValue, stored_s: float = 0.0) -> None:
        """A status was accepted; ``stored_s``: how long ago the server stored it, if it did not come live."""
        at = self._clock() - stored_s
        self._hear_writer(at)
        self._tells_heard = status.heard_us is not None
        said_us = 0 if status.heard_us is None else status.ts_us - status.heard_us
        self._hear_venue(at - said_us / 1e6)

    def announced(self, ago_s: float = 0.0) -> None:
        """A live ``ref`` or ``snap``, or a stored ``snap``, was accepted: the writer lives. Of a writer that does not tell when it
        heard the venue, it has to do as the venue's word."""
        at = self._clock() - ago_s
        self._hear_writer(at)
        if not self._tells_heard:
            self._hear_venue(at)

    def fenced(self) -> None:
        """A writer with a smaller epoch talks."""
        self._fenced_at = self._clock()

    def new_writer(self) -> None:
        """An epoch began: what the writer before it told does not count for it."""
        self._fenced_at = None
        self._tells_heard = False

    @property
    def age_ms(self) -> int | None:
        """The age of the venue's last word; None if it was never heard."""
        self._catch_up()
        return int((self._clock() - self._word_at) * 1000) if self._is_known else None

    def silence(self) -> StateCode | None:
        """Who has been silent for longer than the limit, if anybody has."""
        self._catch_up()
        now, limit_s = self._clock(), self.limit_s
        if now - self._word_at <= limit_s:
            return None
        if self._fenced_at is not None and now - self._fenced_at <= limit_s:
            return StateCode.FENCED
        return StateCode.SILENT if now - self._writer_at > limit_s else StateCode.VENUE_SILENT

    def heard_within(self, seconds: float) -> bool:
        """Whether anything of the writer was accepted in the last ``seconds``."""
        self._catch_up()
        return self._writer_is_known and self._clock() - self._writer_at <= seconds

    @property
    def silent_at(self) -> float:
        """When silence begins if nothing more is heard."""
        self._catch_up()
        return self._word_at + self.limit_s

    def _catch_up(self) -> None:
        heard_us = self._heard_us()
        if heard_us > self._noted_us:
            self._noted_us = heard_us
            self._hear_writer(heard_us / 1e6)
            self._hear_venue(heard_us / 1e6)

    # The first sign of life may be older than this reader; later ones never take it back.

    def _hear_writer(self, at: float) -> None:
        self._writer_at = max(self._writer_at, at) if self._writer_is_known else at
        self._writer_is_known = True

    def _hear_venue(self, at: float) -> None:
        self._word_at = max(self._word_at, at) if self._is_known else at
        self._is_known = True
