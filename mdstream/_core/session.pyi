from collections.abc import Callable

from picows import WSFrame, WSListener, WSTransport

from mdstream._core.hub import Hub
from mdstream._core.sink import Sink

class SessionSink(Sink):
    """Writes to a WebSocket: one gathered ``sendmsg`` per flush straight to the socket while nothing is pending in its transport."""

class Session(WSListener):
    """One client's WebSocket on the server: whole messages in, frames out, closed as RFC 6455 wants.

    For picows' listener factory. Create the server with ``enable_auto_pong=False`` (pongs are bounded here),
    ``enable_auto_ping=False`` and ``max_frame_size`` = ``max_message_bytes``.
    Callbacks: ``on_open(session)``, ``on_message(session, payload)`` with a whole, reassembled message (UTF-8 checked in JSON
    sessions), ``on_close(session, code)`` once, also when the peer vanished (1006). ``SessionClosed`` raised in ``on_open`` or
    ``on_message`` closes with its code; any other exception is logged and closes with 1011. What is sent within a callback leaves in
    one write.
    """

    def __init__(
        self,
        hub: Hub,
        format: int,
        *,
        on_open: Callable[[Session], None],
        on_message: Callable[[Session, bytes], None],
        on_close: Callable[[Session, int], None],
        max_message_bytes: int = 65536,
        send_buffer_bytes: int = 0,
        notsent_lowat_bytes: int = 0,
        control_backlog_bytes: int = 262144,
        close_timeout_s: float = 2.0,
        any_type: bool = False,
        read_buffer_bytes: int = 1024,
        window_bits: int = 0,
    ) -> None:
        """``send_buffer_bytes``, ``notsent_lowat_bytes``: SO_SNDBUF and TCP_NOTSENT_LOWAT, 0 leaves the kernel's own.
        ``control_backlog_bytes``: how much control may wait for a peer that does not read, then 4408.
        ``any_type``: accept text and binary whatever the format (for conformance tests), answered in kind.
        ``read_buffer_bytes``: what the server was given as ``read_buffer_init_size``; with it the session knows that picows read
        nothing beyond the handshake, and reads by itself from there on.
        ``window_bits``: the greatest window towards the peer, 9 to 15, if permessage-deflate was agreed on, both ways without
        context takeover."""
    context: object
    """The owner's own, for what it keeps per session."""
    @property
    def hub(self) -> Hub: ...
    @property
    def format(self) -> int: ...
    @property
    def sink(self) -> SessionSink: ...
    @property
    def transport(self) -> WSTransport | None:
        """From ``on_open`` to ``on_close``; ``transport.request`` holds path and headers until ``on_open`` returns."""
    @property
    def open(self) -> bool:
        """Between ``on_open`` and the first close frame of either side."""
    @property
    def bytes_pending(self) -> int:
        """Bytes that wait in the transport for the peer to read."""
    @property
    def last_received_us(self) -> int:
        """Hub time of the newest frame from the peer, pongs included."""
    def send_control(self, payload: bytes) -> None:
        """One control message, in order with the data; nothing happens once the session is no longer open."""
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Sends the close frame, waits ``close_timeout_s`` for the peer's, then drops the connection. Twice is once."""
    def on_ws_connected(self, transport: WSTransport) -> None: ...
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...
    def on_ws_disconnected(self, transport: WSTransport) -> None: ...
    # ---- as the transport's protocol, once it has taken over from picows
    def is_buffered_protocol(self) -> bool: ...
    def get_buffer(self, size_hint: int) -> memoryview: ...
    def buffer_updated(self, size: int) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, error: Exception | None) -> None: ...
