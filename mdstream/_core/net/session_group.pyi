from collections.abc import Callable
from typing import NamedTuple

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session

class SessionLimits(NamedTuple):
    """What bounds the sessions of one listener.

    ``control_backlog_bytes``: how much control may wait for a peer that does not read, then 4408. ``handshake_s``: from a connection
    to its whole upgrade request. ``close_timeout_s``: from our close frame to the end.
    """

    max_connections: int = 1_000_000
    max_message_bytes: int = 65536
    control_backlog_bytes: int = 262144
    handshake_s: float = 5.0
    close_timeout_s: float = 2.0

class SessionGroup:
    """What all sessions of one listener have in common.

    Callbacks: ``on_request(session, head)`` with an upgrade request, its empty line left out, to be answered there and then by
    ``session.accept`` or ``session.refuse``; ``on_open(session)``; ``on_message(session, payload)`` with a whole, reassembled message
    (UTF-8 checked in JSON sessions); ``on_close(session, code)`` once for each that was opened, also when the peer vanished (1006).
    ``SessionClosed`` raised in ``on_open`` or ``on_message`` closes with its code; any other exception is logged and closes with 1011.
    What is sent within a callback leaves in one write.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        on_request: Callable[[Session, bytes], None],
        on_open: Callable[[Session], None],
        on_message: Callable[[Session, bytes], None],
        on_close: Callable[[Session, int], None],
        limits: SessionLimits = ...,
        any_type: bool = False,
    ) -> None:
        """``any_type``: accept text and binary whatever the format (for conformance tests), answered in kind."""
    @property
    def hub(self) -> Hub: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def connections(self) -> int:
        """Those for which there was room when they came, from then to their end, half-open ones included."""
    @property
    def half_open(self) -> int:
        """Connections whose upgrade is not decided yet."""
    def tick(self) -> None:
        """Call a few times a second: drops those that ran out of time, in the handshake or in closing. There are no other timers."""
