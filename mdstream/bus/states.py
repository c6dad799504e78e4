"""Which state clients are told, and why; without I/O.

``recovering`` outranks ``stale``, that ``closed``, that ``halted``, that ``live``. A venue that is silent does not outrank ``closed``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mdstream._core.codec.feed_decoder import StatusValue
from mdstream.model import State, StateCode, VenueState


@dataclass(frozen=True, slots=True)
class Standing:
    """A state as it is told: ``code`` is None when live, ``reason`` is for people."""

    state: State
    code: StateCode | None = None
    reason: str = ""


OPENING = Standing(State.RECOVERING, StateCode.OPENING, "opening")
CONFLICT = Standing(State.RECOVERING, StateCode.CONFLICT, "two writers publish in one epoch")
CONTRADICTION = Standing(
    State.RECOVERING, StateCode.REFUSED, "the writer announced another scale within its epoch"
)
NO_REF = Standing(State.RECOVERING, StateCode.NO_REF, "a new writer's ref is missing or was refused")
NO_BOOK = Standing(State.RECOVERING, StateCode.NO_BOOK, "no book was published yet")
AWAY = Standing(State.STALE, StateCode.NATS_AWAY, "NATS is away")

_SILENCE = {
    StateCode.SILENT: "the feed is silent",
    StateCode.VENUE_SILENT: "the venue is silent",
    StateCode.FENCED: "a writer with a smaller epoch publishes, and nobody else does",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides about the state of one stream."""

    recovering: Standing | None
    """Why it is recovered, if it is."""
    contradicted: bool
    conflicting: bool
    lacks_ref: bool
    has_book: bool
    connected: bool
    silence: StateCode | None
    status: StatusValue | None

    def standing(self) -> Standing:
        return self._recovering() or self._stale() or self._venue()

    def _recovering(self) -> Standing | None:
        if self.lacks_ref:
            return NO_REF
        if self.recovering is not None:
            return self.recovering
        if self.contradicted:
            return CONTRADICTION
        if self.conflicting:
            return CONFLICT
        return None if self.has_book else NO_BOOK

    def _stale(self) -> Standing | None:
        if not self.connected:
            return AWAY
        venue = None if self.status is None else self.status.state
        if venue is VenueState.FEED_DOWN:
            return Standing(State.STALE, StateCode.FEED_DOWN, self._reason())
        if self.silence is None or (self.silence is StateCode.VENUE_SILENT and venue is VenueState.CLOSED):
            return None
        return Standing(State.STALE, self.silence, _SILENCE[self.silence])

    def _venue(self) -> Standing:
        if self.status is None or self.status.state is VenueState.TRADING:
            return Standing(State.LIVE, None, "" if self.status is None else self.status.reason)
        state = State.CLOSED if self.status.state is VenueState.CLOSED else State.HALTED
        return Standing(state, StateCode.VENUE, self._reason())

    def _reason(self) -> str:
        assert self.status is not None
        return self.status.reason or f"the venue says {self.status.state}"
