"""What follows a read from the bus: whoever has something due is called, then the socket may rest."""

import asyncio
from collections.abc import Callable
from typing import Protocol

class Wake:
    """Calls back once, however often it is set, until it is cleared."""

    def __init__(self, callback: Callable[[], None]) -> None: ...
    @property
    def due(self) -> bool:
        """Set, and not cleared yet."""
    def set(self) -> None: ...
    def clear(self) -> None: ...

class Patience:
    """How long what comes may wait to be read."""

    us: int
    """Microseconds; 0: somebody waits for it."""

class Socket(Protocol):
    """Of what is read from: an ``asyncio.ReadTransport``, as far as it matters here."""

    def is_reading(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

class CallLater(Protocol):
    """That of an event loop."""

    def __call__(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle: ...

class AfterRead:
    """Runs at the end of each read. Where all are patient and reads follow each other quickly, the socket rests after one."""

    def add(
        self, wake: Wake, on_due: Callable[[bool], None], patience: Patience, most_us: int
    ) -> Callable[[], None]:
        """``on_due`` is called after a read that leaves ``wake`` due; True: more is waiting to be read. ``most_us`` bounds the
        rests, whatever ``patience`` says. Returns what undoes it."""
    def attach(self, socket: Socket | None, call_later: CallLater) -> None:
        """Reads come from here now; ends a rest of the socket before."""
    @property
    def resting(self) -> bool:
        """Nothing is read just now."""
    def resume(self) -> None:
        """Ends a rest, if there is one."""
