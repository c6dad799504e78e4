from collections.abc import Callable

from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.ingest.receiver import Handlers

class NatsTap:
    scheduler: FlushScheduler | None
    def __init__(
        self,
        handlers: Handlers,
        counters: dict[str, int],
        pass_on: Callable[[bytes], object],
        on_fault: Callable[[Exception], object],
        scheduler: FlushScheduler | None = None,
    ) -> None: ...
    @property
    def capacity(self) -> int: ...
    def count(self) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, nbytes: int) -> None: ...
