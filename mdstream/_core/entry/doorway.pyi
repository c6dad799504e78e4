import ssl
from collections.abc import Callable

from mdstream._core.entry.headcount import Headcount
from mdstream._core.net.connection import Connections
from mdstream._core.net.session_group import SessionGroup

class Doorway:
    connections: Connections | None
    tls: ssl.SSLContext | None
    introductions: int
    def __init__(
        self,
        listener: object,
        group: SessionGroup,
        limits: Headcount,
        at_door: Callable[[], str | None],
        *,
        max_handshakes: int,
        tls: ssl.SSLContext | None,
    ) -> None: ...
    def admit(self, fd: int) -> bool: ...
    def serve(self, fd: int, peer: bytes, source: bytes | None = None) -> bool: ...
