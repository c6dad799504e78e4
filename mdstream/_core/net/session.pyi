from asyncio import Transport

from mdstream._core.fanout.sink import Sink
from mdstream._core.net.connection import Connection, Peer
from mdstream._core.net.session_group import SessionGroup

class SessionSink(Sink):
    """Writes to a WebSocket: one gathered ``sendmsg`` per flush straight to the socket while nothing is pending in its transport."""

class Session(Peer):
    """One client's WebSocket on the server, from its connection on: whole messages in, frames out, closed as RFC 6455 wants.

    The peer of a ``Connection``, or the protocol of a transport of asyncio's, as for TLS.
    """

    def __init__(self, group: SessionGroup) -> None: ...
    context: object
    """The owner's own, for what it keeps per session."""
    @property
    def group(self) -> SessionGroup: ...
    @property
    def surplus(self) -> bool:
        """There were ``max_connections`` of them already when it came."""
    @property
    def format(self) -> int: ...
    @property
    def sink(self) -> SessionSink:
        """Once accepted."""
    @property
    def transport(self) -> Transport | Connection | None:
        """From the connection to its end."""
    @property
    def open(self) -> bool:
        """Between ``on_open`` and the first close frame of either side."""
    @property
    def bytes_pending(self) -> int:
        """Bytes that wait in the transport for the peer to read."""
    @property
    def last_received_us(self) -> int:
        """Hub time of the newest frame from the peer, pongs included."""
    def accept(self, response: bytes, format: int, window_bits: int = 0) -> None:
        """Opens it; ``response`` is the whole answer to the upgrade request, and leaves together with what ``on_open`` sends.

        ``window_bits``: the greatest window towards the peer, 9 to 15, if permessage-deflate was agreed on, both ways without
        context takeover.
        """
    def refuse(self, response: bytes) -> None:
        """Sends the whole answer to the upgrade request, and ends the connection."""
    def send_control(self, payload: bytes) -> None:
        """One control message, in order with the data; nothing happens once the session is no longer open."""
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Sends the close frame, waits ``close_timeout_s`` for the peer's, then drops the connection. Twice is once."""
    def drop(self) -> None:
        """Ends the connection without a word; also one whose transport is not there yet."""
    # ---- as the protocol of a transport of asyncio's
    def connection_made(self, transport: Transport | Connection) -> None: ...
    def get_buffer(self, size_hint: int) -> memoryview: ...
    def buffer_updated(self, size: int) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...
