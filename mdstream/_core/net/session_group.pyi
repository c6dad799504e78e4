from collections.abc import Callable
from typing import NamedTuple

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session

class SessionLimits(NamedTuple):
    max_connections: int = 1_000_000
    max_message_bytes: int = 65536
    control_backlog_bytes: int = 262144
    handshake_s: float = 5.0
    close_timeout_s: float = 2.0
    max_unread_bytes: int = ...
    stuck_s: float = 2.0
    control_frames_burst: int = ...
    control_frames_per_second: int = ...
    decoded_bytes_burst: int = ...
    decoded_bytes_per_second: int = ...

class SessionGroup:
    def __init__(
        self,
        hub: Hub,
        *,
        on_request: Callable[[Session, bytes], None],
        on_open: Callable[[Session], None],
        on_message: Callable[[Session, bytes], None],
        on_close: Callable[[Session, int], None],
        on_gone: Callable[[Session], None] | None = None,
        on_limited: Callable[[Session, str], None] | None = None,
        limits: SessionLimits = ...,
        any_type: bool = False,
    ) -> None: ...
    call_soon: Callable[[Callable[[], None]], object]
    on_message: Callable[[Session, bytes], None]
    on_close: Callable[[Session, int], None]
    max_unread: int
    @property
    def hub(self) -> Hub: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def connections(self) -> int: ...
    @property
    def unread(self) -> int: ...
    @property
    def half_open(self) -> int: ...
    def tick(self) -> None: ...
    def drop_overdue(self) -> None: ...
