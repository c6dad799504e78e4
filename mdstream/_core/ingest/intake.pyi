"""From the bus into the hub: what takes the live messages of one instrument."""

from collections.abc import Callable

from mdstream._core.fanout.after_read import Wake
from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.instrument import Instrument
from mdstream._core.ingest.receiver import Receiver

class Intake:
    """Where one stream of an instrument enters a hub; ``intake(payload)`` as ``hub.take_book(instrument, payload)``."""

    def __init__(self, hub: Hub, instrument: Instrument) -> None:
        """Raises ValueError if the instrument is not of this hub. Use it no longer than until it is removed there."""
    def __call__(self, payload: bytes) -> int: ...

class BookIntake(Intake): ...
class TradeIntake(Intake): ...

class InstrumentReceiver(Receiver):
    """Takes all messages of an instrument: live books and trades straight into the core, all else the slow way.

    What the core changed by sets ``wake``, unless every topic of the instrument waits for its interval. What does not follow,
    or is refused, goes the slow way too, and changes nothing twice.
    """

    book: Intake | None
    """Where ``book`` goes straight to; None: the slow way."""
    trades: Intake | None
    heard: bool
    """Something came; clear it to learn whether it does again."""

    def __init__(
        self, slow: Callable[[bytes, bytes], None], on_heard: Callable[[], None], wake: Wake
    ) -> None:
        """``slow`` is called with subject and payload; ``on_heard`` after the first message, and the first since ``heard`` was
        cleared."""
