"""Takes the messages of known subscriptions out of what a NATS server sends; all else is passed on as it came."""

from collections.abc import Callable

from mdstream._core.fanout.after_read import AfterRead
from mdstream._core.ingest.receiver import Handlers

class NatsTap:
    """Drive it as an ``asyncio.BufferedProtocol``. What it holds is bounded: one message and what was read with it."""

    def __init__(
        self,
        handlers: Handlers,
        counters: dict[str, int],
        pass_on: Callable[[bytes], object],
        on_fault: Callable[[Exception], object],
        after_read: AfterRead,
    ) -> None:
        """``counters``: ``in_msgs`` and ``in_bytes`` are added to for what handlers take. ``pass_on`` is given every other
        operation, whole; after something that is not the NATS protocol, all there is from there on. ``on_fault`` is given what
        a handler raised. ``after_read`` runs at the end of each read; one that filled the buffer leaves more waiting."""
    @property
    def busy(self) -> bool:
        """Messages are being handed over; ``after_read`` follows."""
    @property
    def capacity(self) -> int:
        """Bytes allocated for reading."""
    def feed(self, data: bytes) -> None:
        """Takes what was read before."""
    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport reads to; valid until ``buffer_updated``."""
    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were read. Raises ValueError for more than there was room."""
