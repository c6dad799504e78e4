from collections.abc import Callable

from mdstream._core.fanout.sink import Sink

class SessionSink(Sink):
    def trace(self, tracer: Callable[[bytes], object] | None) -> None: ...
