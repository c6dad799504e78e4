from collections.abc import Callable

from mdstream._core.fanout.sink import Sink
from mdstream._core.net.session import Session

class SessionSink(Sink):
    def __init__(self, session: Session, format: int, window_bits: int, control_backlog: int) -> None: ...
    def trace(self, tracer: Callable[[bytes], object] | None) -> None: ...
