from mdstream._core.sender import Sender
from mdstream._core.topic import Topic

class Sink:
    """Where frames for one client go. Subclasses: ``MemorySink`` for tests and benchmarks, ``SessionSink`` (picows)."""

    @property
    def format(self) -> int:
        """0: JSON, 1: MessagePack."""
    @property
    def blocked(self) -> bool:
        """The peer does not take more now: deliveries are marked, not queued."""
    @property
    def closed(self) -> bool: ...
    @property
    def subscriptions(self) -> int:
        """How many topics it is subscribed to."""
    @property
    def subscription_bytes(self) -> int:
        """Memory that those take here; ``Topic.subscription_bytes`` is the rest."""
    def topics(self) -> list[Topic]: ...
    def close(self) -> None:
        """Drops every subscription; nothing is sent any more."""

class MemorySink(Sink):
    """Keeps what it was given: ``take()`` returns and forgets the WebSocket frames' payloads; ``room`` bytes until it blocks.

    ``keep=False`` only counts (benchmarks). ``window_bits``, 9 to 15: it can unpack compressed messages; ``take()`` returns them
    unpacked.
    """

    def __init__(self, format: int, room: int = -1, *, keep: bool = True, window_bits: int = 0) -> None: ...
    @property
    def writes(self) -> int:
        """Writes so far: one per flush that had anything for it."""
    @property
    def bytes_written(self) -> int: ...
    @property
    def packed(self) -> int:
        """Messages kept that came compressed."""
    @property
    def close_code(self) -> int:
        """The code it was closed with by the hub (4408 too slow, 1001 silent); 0 while it was not."""
    def take(self) -> list[bytes]: ...
    def drain(self, room: int = -1) -> None:
        """The peer reads again: unblocks, with ``room`` bytes until it blocks anew, and catches up."""

class MemorySender(Sender):
    """Writes to the memory sinks that were added, as far as they have room; what a sink has not, it is handed back."""

    def __init__(self) -> None: ...
    def add(self, sink: MemorySink) -> None: ...
