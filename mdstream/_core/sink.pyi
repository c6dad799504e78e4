class Sink:
    """Where frames for one client go. Subclasses: ``MemorySink`` for tests and benchmarks, ``SessionSink`` (picows)."""

    format: int
    @property
    def blocked(self) -> bool:
        """The peer does not take more now: deliveries are marked, not queued."""
    def close(self) -> None:
        """Drops every subscription; nothing is sent any more."""

class MemorySink(Sink):
    """Keeps what it was given: ``take()`` returns and forgets the WebSocket frames' payloads; ``room`` bytes until it blocks."""

    def __init__(self, format: int, room: int = -1) -> None: ...
    def take(self) -> list[bytes]: ...
    def drain(self) -> None:
        """The peer reads again: unblocks and catches up."""
