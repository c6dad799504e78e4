"""A WebSocket to a venue: complete messages in, text out, and one reason why it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from mdstream.errors import FeedError

log = logging.getLogger("mdstream.feeds")

IDLE_PING_S = 10.0
"""We ping a peer after this silence, and give it up after as long again without an answer."""
CONNECT_S = 20.0
"""A venue that has not answered our upgrade request by then cannot be reached."""
MAX_RETRY_AFTER_S = 3600.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

OnMessage = Callable[[bytes], None]


class VenueUnavailable(FeedError):
    """The venue cannot be reached or refuses us for now; ``retry_after_s`` if it told us when to try again."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Connection(WSListener):
    """An open connection; make one with ``connect``. ``ended`` gets the reason when it ends."""

    def __init__(self, on_message: OnMessage) -> None:
        self.on_message = on_message
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._transport: WSTransport | None = None
        self._reason = "the connection was lost"
        self._parts: list[bytes] = []

    def send(self, text: str) -> None:
        """Sends a text message; does nothing if the connection has ended."""
        if self._transport is not None and not self.ended.done():
            self._transport.send(WSMsgType.TEXT, text.encode())

    def close(self, reason: str) -> None:
        """Closes at once; ``on_message`` gets no more messages."""
        self.on_message = _ignore
        self._reason = reason
        if self._transport is not None and not self.ended.done():
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._reason = f"the venue closed the connection: {frame.get_close_code()} {frame.get_close_reason()}".strip()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                message, self._parts = b"".join(self._parts), []
                self.hand_over(message)

    def hand_over(self, message: bytes) -> None:
        """Gives a message to ``on_message``; if that cannot understand it, the connection ends."""
        try:
            self.on_message(message)
        except FeedError as error:
            # We may have missed anything: start over rather than guess.
            log.error("%s", error)
            self.close(str(error))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(self._reason)


def _ignore(_: bytes) -> None:
    """``on_message`` after the end."""


async def connect(url: str, on_message: OnMessage) -> Connection:
    """Opens a connection. Raises VenueUnavailable with the URL and the reason."""
    connection = Connection(on_message)
    try:
        async with asyncio.timeout(CONNECT_S):
            await ws_connect(
                lambda: connection,
                url,
                enable_auto_ping=True,
                auto_ping_idle_timeout=IDLE_PING_S,
                auto_ping_reply_timeout=IDLE_PING_S,
                max_frame_size=MAX_MESSAGE_BYTES,
            )
    except (OSError, TimeoutError, WSError) as error:
        raise VenueUnavailable(
            f"{url} cannot be reached: {str(error) or type(error).__name__}",
            retry_after_s=_retry_after_s(error),
        ) from None
    return connection


def _retry_after_s(error: Exception) -> float | None:
    """What a refused upgrade told in ``Retry-After``; None if it told nothing, or a date, which would need two clocks that agree."""
    if not isinstance(error, WSHandshakeError) or error.response is None:
        return None
    text = error.response.headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else None
