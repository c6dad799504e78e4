import ssl
from collections.abc import Callable

from mdstream._core.base.budget import Budget
from mdstream._core.entry.headcount import Headcount
from mdstream._core.entry.load_state import LoadState
from mdstream._core.net.connection import Connections
from mdstream._core.net.session_group import SessionGroup

class Door:
    now_s: Callable[[], float]
    def __init__(
        self, load: LoadState, accepts: Budget, why_shut: Callable[[], str], now_s: Callable[[], float]
    ) -> None: ...

class Doorway:
    connections: Connections | None
    tls: ssl.SSLContext | None
    introductions: int
    def __init__(
        self,
        listener: object,
        group: SessionGroup,
        limits: Headcount,
        door: Door,
        *,
        max_handshakes: int,
        tls: ssl.SSLContext | None,
    ) -> None: ...
    def take(self, listening: int) -> None: ...
    def serve(self, fd: int, peer: bytes, source: bytes) -> bool: ...
