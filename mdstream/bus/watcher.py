"""Who is told about an instrument that is read, and what it is told."""

from __future__ import annotations

from typing import Protocol

from mdstream.errors import BusError
from mdstream.model import Ref, State, StateCode


class UnknownInstrument(BusError):
    """No publisher has announced the instrument: it has no ``ref``."""


class Watcher(Protocol):
    """Receives the state and the reference data of an instrument."""

    def on_state(
        self, stream: str, state: State, code: StateCode | None, reason: str, age_ms: int | None
    ) -> None:
        """Called when the state of ``book`` or ``trade`` changes; until then it is ``recovering``. ``age_ms``: of the venue's last
        word, None if it was never heard."""

    def on_ref(self, ref: Ref, rescaled: bool) -> None:
        """Called when the reference data changes. ``rescaled``: an exponent changed, so the core's numbers have another meaning now;
        the reader has stopped, and the instrument must be opened again."""
