"""What readers refused: logged and counted once each, and the latest of each instrument kept for the admin page."""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mdstream.errors import BookError, FeedError, PayloadError

logger = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
"""Refusals of one kind on one subject that follow faster are counted, and logged with the next."""
KEPT_PER_INSTRUMENT = 10
MOST_INSTRUMENTS = 200
REMEMBERED = 256
"""Payloads of an instrument that are recognized when the log or MD_STATE shows them again."""


class Reason(StrEnum):
    """Why something on the bus was refused, as the metric's label says."""

    PAYLOAD = "payload"
    """Bytes that the contract does not allow."""
    BOOK = "book"
    """An update or snapshot that is no valid book: crossed, too deep."""
    EPOCH = "epoch"
    """An epoch too far ahead of the clock."""
    FENCED = "fenced"
    """Of a smaller epoch than the one that is read."""
    CONFLICT = "conflict"
    """A number repeated with other content, or a snapshot that differs from the book."""
    SCALE = "scale"
    """A second ``ref`` of an epoch with other exponents."""
    JUMP = "jump"
    """A number ahead that nothing else on the bus bears out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, as the admin page shows it."""

    time_us: int
    instrument: str
    subject: str
    reason: Reason
    message: str
    offset: int = -1
    """The byte at which decoding stopped; -1: it was decoded."""
    value: int = -1
    """The index of the value in the message, from 0; -1 likewise."""


class Refusals:
    """The refusals of all readers."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock_us: Callable[[], int] | None = None
    ) -> None:
        self.counts: Counter[Reason] = Counter({reason: 0 for reason in Reason})
        self._clock = clock
        self._wall_clock_us = wall_clock_us or (lambda: time.time_ns() // 1000)
        self._latest: OrderedDict[str, deque[Refusal]] = OrderedDict()
        self._logged: OrderedDict[tuple[str, Reason], tuple[float, int]] = OrderedDict()

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def latest(self) -> list[Refusal]:
        """The latest refusals, by instrument, the newest of each first."""
        return [refusal for kept in self._latest.values() for refusal in reversed(kept)]

    def add(
        self, instrument: str, subject: str, reason: Reason, message: str, error: Exception | None = None
    ) -> None:
        offset, value = (error.offset, error.value) if isinstance(error, PayloadError) else (-1, -1)
        self.counts[reason] += 1
        self._keep(Refusal(self._wall_clock_us(), instrument, subject, reason, message, offset, value))
        self._log(instrument, subject, reason, message)

    def _keep(self, refusal: Refusal) -> None:
        kept = self._latest.setdefault(refusal.instrument, deque(maxlen=KEPT_PER_INSTRUMENT))
        self._latest.move_to_end(refusal.instrument)
        kept.append(refusal)
        if len(self._latest) > MOST_INSTRUMENTS:
            self._latest.popitem(last=False)

    def _log(self, instrument: str, subject: str, reason: Reason, message: str) -> None:
        now, key = self._clock(), (subject, reason)
        logged_at, more = self._logged.pop(key, (now - LOG_EVERY_S, 0))
        if now - logged_at < LOG_EVERY_S:
            self._logged[key] = logged_at, more + 1
            return
        self._logged[key] = now, 0
        if len(self._logged) > 10 * MOST_INSTRUMENTS:
            self._logged.popitem(last=False)
        suffix = f" ({more} more like it since the last such line)" if more else ""
        logger.warning("%s was refused: %s: %s%s", subject, instrument, message, suffix)


class InstrumentRefusals:
    """The refusals of one instrument; each payload counts once, however often the log or MD_STATE shows it again."""

    def __init__(self, refusals: Refusals, instrument: str) -> None:
        self._refusals = refusals
        self._instrument = instrument
        self._seen: OrderedDict[int, None] = OrderedDict()

    def payload(self, subject: str, payload: bytes, error: FeedError) -> None:
        """A payload that was refused with ``error``."""
        if not self._is_new(subject, payload):
            return
        if isinstance(error, PayloadError):
            reason = Reason.PAYLOAD
        else:
            reason = Reason.BOOK if isinstance(error, BookError) else Reason.EPOCH
        self._refusals.add(self._instrument, subject, reason, str(error), error)

    def value(self, subject: str, payload: bytes, reason: Reason, message: str) -> None:
        """A payload that can be read, but is not believed."""
        if self._is_new(subject, payload):
            self._refusals.add(self._instrument, subject, reason, message)

    def _is_new(self, subject: str, payload: bytes) -> bool:
        key = hash((subject, payload))
        is_new = key not in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return is_new
