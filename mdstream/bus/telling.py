"""What the watcher of one instrument is told: the state of each stream, whenever it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mdstream._core.codec.feed_decoder import StatusValue
from mdstream.bus.epochs import Epochs
from mdstream.bus.freshness import Freshness
from mdstream.bus.states import OPENING, Facts, Standing
from mdstream.bus.watcher import Watcher
from mdstream.model import InstrumentId, State, StateCode

logger = logging.getLogger(__name__)

STREAMS = ("book", "trade")
CALM = (None, False, False, False)
"""What time changes, while nothing is wrong."""
CHECK_S = 0.2
"""How often it is looked at whether something that is wrong is so still."""
CONFLICT_S = 15.0
"""Two writers in one epoch are told for this long after the last contradiction."""
NO_REF_S = 1.0
"""How long nothing of the smaller epoch may come while values of a greater one wait for their ``ref``."""
_NEVER_S = 3e10


class Telling:
    """Collects what decides about the states, and tells them. ``epochs`` is set once the instrument is open; nothing is told before.

    ``check_at`` is told when ``check`` is to be called, as ``InstrumentReceiver.check_at``.
    """

    def __init__(
        self,
        instrument: InstrumentId,
        watcher: Watcher,
        freshness: Freshness,
        clock: Callable[[], float],
        check_at: Callable[[int, int], None],
        *,
        is_connected: Callable[[], bool],
        has_book: Callable[[], bool],
    ) -> None:
        self.epochs: Epochs | None = None
        self.status: StatusValue | None = None
        self.reasons: dict[str, Standing] = dict.fromkeys(STREAMS, OPENING)
        """Why a stream is recovered."""
        self.states: dict[str, Standing] = dict.fromkeys(STREAMS, OPENING)
        self.stopped = ""
        """Why the reader has stopped, if it has."""
        self.closed = False
        self._instrument = instrument
        self._watcher = watcher
        self._freshness = freshness
        self._clock = clock
        self._check_at = check_at
        self._is_connected = is_connected
        self._has_book = has_book
        self._conflict_at: dict[str, float] = {}
        self._timed: tuple[object, ...] = ()

    def contradict(self, stream: str) -> None:
        """Another writer publishes in the same epoch."""
        self._conflict_at[stream] = self._clock()
        self._check_at(0, 0)

    def begin(self) -> None:
        """An epoch has begun: it has one writer."""
        self._conflict_at.clear()

    def recover(self, stream: str, code: StateCode, why: str) -> None:
        self.reasons[stream] = Standing(State.RECOVERING, code, why)

    def check(self) -> None:
        """Tells what time alone has changed."""
        if self._timed != self._what_time_changes():
            self.report()
        self._plan_check()

    def report(self) -> None:
        """Tells the watcher which states have changed."""
        if self.epochs is None or self.closed:
            return
        self._timed = self._what_time_changes()
        for stream in STREAMS:
            standing = self._standing(stream, self.epochs)
            if standing != self.states[stream]:
                self.states[stream] = standing
                self._tell(stream, standing)
        self._plan_check()

    def _plan_check(self) -> None:
        """While nothing is wrong, only silence can change what is told."""
        is_calm = self._timed == CALM and self.epochs is not None and not self.epochs.waiting
        if is_calm:
            self._check_at(_us(self._freshness.silent_at), _us(self._freshness.limit_s))
        else:
            self._check_at(_us(self._clock() + CHECK_S), 0)

    @property
    def age_ms(self) -> int | None:
        """The age of the venue's last word; None if it was never heard."""
        return self._freshness.age_ms

    def _tell(self, stream: str, standing: Standing) -> None:
        try:
            self._watcher.on_state(stream, standing.state, standing.code, standing.reason, self.age_ms)
        except Exception:  # a fault of the watcher must not end a recovery
            logger.exception("%s: reporting its state failed", self._instrument)

    def _what_time_changes(self) -> tuple[object, ...]:
        return self._freshness.silence(), self._lacks_ref, *map(self._conflicts, STREAMS)

    @property
    def _lacks_ref(self) -> bool:
        if self.epochs is None or not self.epochs.waiting:
            return False
        return not self._freshness.heard_within(NO_REF_S)

    def _conflicts(self, stream: str) -> bool:
        at = self._conflict_at.get(stream)
        return at is not None and self._clock() - at < CONFLICT_S

    def _standing(self, stream: str, epochs: Epochs) -> Standing:
        if self.stopped:
            return Standing(State.RECOVERING, StateCode.OPENING, self.stopped)
        return Facts(
            recovering=self.reasons.get(stream),
            contradicted=epochs.contradicted,
            conflicting=self._conflicts(stream),
            lacks_ref=self._lacks_ref,
            has_book=stream != "book" or self._has_book(),
            connected=self._is_connected(),
            silence=self._freshness.silence(),
            status=self.status,
        ).standing()


def _us(seconds: float) -> int:
    """For the core; a time that never comes is as good as one in a thousand years."""
    return int(min(seconds, _NEVER_S) * 1e6)
