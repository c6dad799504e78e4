"""The WebSocket transport on picows."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl as ssl_module
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING

import picows
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from picows.url import parse_url

from mdstream._core.codec.deflate import inflate
from mdstream.client.compression import OFFER, is_agreed
from mdstream.client.transport import Receiver, Transport
from mdstream.codes import CloseCode
from mdstream.errors import ClientError, ConnectionFailed, HandshakeRefused

if TYPE_CHECKING:
    from mdstream.auth.client_key import ClientKey

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
EXTENSIONS = "Sec-WebSocket-Extensions"
NO_CREDENTIAL = "; this client brought neither a token nor an API key"
UNKNOWN_KEY = "; does the gateway know the API key, is this machine's clock right, and does no proxy change Host or path?"


class PicowsDial:
    """Dials with picows; ``ssl`` replaces the default TLS context of ``wss`` URLs, ``compression`` offers permessage-deflate, ``api_key``
    signs each upgrade request."""

    def __init__(
        self,
        ssl: ssl_module.SSLContext | None = None,
        *,
        compression: bool = False,
        api_key: ClientKey | None = None,
    ) -> None:
        self._ssl = ssl
        self._compression = compression
        self._api_key = api_key

    async def __call__(
        self,
        url: str,
        receiver: Receiver,
        *,
        subprotocol: str,
        binary: bool,
        token: str | None,
        timeout_s: float,
    ) -> Transport:
        headers = {"Sec-WebSocket-Protocol": subprotocol}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if self._compression:
            headers[EXTENSIONS] = OFFER
        if self._api_key is not None:
            headers |= _signed(self._api_key, url)
        try:
            ws, listener = await self._open(url, _Listener(receiver, binary), headers, timeout_s)
        except (OSError, picows.WSError) as error:
            raise _failure(url, error, timeout_s, self._hint_401(token)) from error
        if listener is None:
            raise ConnectionFailed(f"cannot connect to {url}: it hung up during the upgrade")
        _check_answer(url, ws, subprotocol, self._compression)
        return PicowsTransport(ws, binary)

    def _hint_401(self, token: str | None) -> str:
        if self._api_key is not None:
            return UNKNOWN_KEY
        return NO_CREDENTIAL if token is None else ""

    async def _open(
        self, url: str, listener: _Listener, headers: dict[str, str], timeout_s: float
    ) -> tuple[WSTransport, WSListener | None]:
        try:
            async with asyncio.timeout(2 * timeout_s):
                return await picows.ws_connect(
                    lambda: listener,
                    url,
                    ssl_context=self._ssl,
                    websocket_handshake_timeout=timeout_s,
                    extra_headers=headers,
                    max_frame_size=MAX_MESSAGE_BYTES,
                    max_redirects=0,  # a redirect would carry the credential elsewhere
                    # aiofastnet tells the loop's exception handler of a server that hangs up during the TLS handshake
                    use_aiofastnet=False if url.startswith("wss:") else None,
                )
        except BaseException:
            # picows keeps the connection of a cancelled call; without a receiver it must be closed.
            listener.abandon()
            raise


class PicowsTransport:
    """An open connection."""

    def __init__(self, ws: WSTransport, binary: bool) -> None:
        self._ws = ws
        self._type = WSMsgType.BINARY if binary else WSMsgType.TEXT

    def send(self, payload: bytes) -> None:
        if not self._ws.is_disconnected and not self._ws.is_close_frame_sent:
            self._ws.send(self._type, payload)

    def close(self, code: int, reason: str) -> None:
        if not self._ws.is_disconnected:
            if not self._ws.is_close_frame_sent:
                self._ws.send_close(WSCloseCode(code), reason.encode())
            self._ws.disconnect()

    def abort(self) -> None:
        self._ws.disconnect(graceful=False)

    async def wait_closed(self) -> None:
        # It raises the error that cut the connection. That error is logged, and the user sees the state.
        with suppress(Exception):
            await self._ws.wait_disconnected()


class _Listener(WSListener):
    """Joins fragments, decompresses, and delivers whole messages."""

    def __init__(self, receiver: Receiver, binary: bool) -> None:
        super().__init__()
        self._receiver = receiver
        self._type = WSMsgType.BINARY if binary else WSMsgType.TEXT
        self._parts: list[bytes] = []
        self._size = 0
        self._compressed = False
        self._decompresses = False
        self._failed = False
        self._close: tuple[int, str] | None = None
        self._abandoned = False

    def abandon(self) -> None:
        self._abandoned = True

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._abandoned:
            transport.disconnect()
        self._decompresses = EXTENSIONS in transport.response.headers  # the dial checks that it was offered

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._failed:
            return
        if frame.rsv2 or frame.rsv3 or (frame.rsv1 and not (self._decompresses and kind == self._type)):
            self._fail(
                transport,
                WSCloseCode.PROTOCOL_ERROR,
                "a frame with a reserved bit that no agreed extension uses",
            )
        elif kind == WSMsgType.CLOSE:
            self._peer_closed(transport, frame)
        elif kind == self._type or kind == WSMsgType.CONTINUATION:
            self._collect(transport, frame)
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY):
            found = f"a {WSMsgType(kind).name} frame under the other subprotocol"
            self._fail(transport, WSCloseCode.UNSUPPORTED_DATA, found)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        code, reason = self._close or (CloseCode.ABNORMAL, "connection cut")
        self._receiver.closed(code, reason)

    def _peer_closed(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else CloseCode.NO_CODE
        self._close = code, payload[2:].decode(errors="replace")
        if not transport.is_close_frame_sent:
            transport.send_close(WSCloseCode.OK if code == CloseCode.NO_CODE else frame.get_close_code())
        transport.disconnect()

    def _collect(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == self._type:
            self._compressed = frame.rsv1
        if frame.fin and not self._parts:
            self._deliver(transport, payload)
            return
        self._parts.append(payload)
        self._size += len(payload)
        if self._size > MAX_MESSAGE_BYTES:
            self._fail(transport, WSCloseCode.MESSAGE_TOO_BIG, "a message that is too big")
        elif frame.fin:
            payload = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._deliver(transport, payload)

    def _deliver(self, transport: WSTransport, payload: bytes) -> None:
        message = inflate(payload, MAX_MESSAGE_BYTES) if self._compressed else payload
        if isinstance(message, bytes):
            self._receiver.received(message)
        else:
            code = WSCloseCode(message)
            big = code is WSCloseCode.MESSAGE_TOO_BIG
            self._fail(transport, code, f"a compressed message that is {'too big' if big else 'corrupt'}")

    def _fail(self, transport: WSTransport, code: WSCloseCode, what: str) -> None:
        """The gateway broke the protocol: ignores everything else from this connection, and closes it."""
        log.warning("the gateway sent %s; closing the connection", what)
        self._failed = True
        self._parts.clear()
        if not transport.is_close_frame_sent:
            transport.send_close(code, what.encode())
        transport.disconnect()


def _signed(key: ClientKey, url: str) -> dict[str, str]:
    """The headers of a signed request, ``Host`` among them, which is signed too."""
    parts = parse_url(url)
    host = parts.netloc.rpartition("@")[2]
    return {"Host": host} | key.headers(host=host, target=parts.resource_name, time_ms=int(time() * 1000))


def _failure(url: str, error: OSError | picows.WSError, timeout_s: float, hint_401: str) -> ClientError:
    if isinstance(error, picows.WSHandshakeError):
        return _refused(url, error, hint_401)
    if isinstance(error, TimeoutError):
        return ConnectionFailed(f"cannot connect to {url}: no answer within {timeout_s:g} s")
    return ConnectionFailed(f"cannot connect to {url}: {_describe(error)}{_hint(url, error)}")


def _hint(url: str, error: Exception) -> str:
    no_tls = isinstance(error, ssl_module.SSLError) and not isinstance(
        error, ssl_module.SSLCertVerificationError
    )
    if url.startswith("wss:") and (
        no_tls or isinstance(error, ConnectionResetError | ConnectionAbortedError)
    ):
        return "; without TLS, the URL begins with ws://"
    return ""


def _check_answer(url: str, ws: WSTransport, subprotocol: str, compression: bool) -> None:
    """Checks that the gateway chose from the offer."""
    chosen = ws.response.headers.get("Sec-WebSocket-Protocol")
    try:
        if chosen not in (None, subprotocol):
            raise ValueError(f"chose the subprotocol {chosen!r}; {subprotocol!r} was offered")
        is_agreed(ws.response.headers.get(EXTENSIONS), offered=compression)
    except ValueError as error:
        ws.disconnect(graceful=False)
        raise ConnectionFailed(f"{url} {error}") from None


def _refused(url: str, error: picows.WSHandshakeError, hint_401: str) -> HandshakeRefused | ConnectionFailed:
    response = error.response
    if response is None or response.status == 101:
        return ConnectionFailed(f"cannot connect to {url}: it does not speak WebSocket ({error})")
    body = (response.body or error.raw_body or b"").decode(errors="replace").strip()
    said = f": {body[:200]}" if body else ""
    message = f"{url} refused with HTTP {int(response.status)} {response.status.phrase}{said}{hint_401 if response.status == 401 else ''}"
    retry_after_s = _retry_after(response.headers)
    return HandshakeRefused(message, status=int(response.status), retry_after_s=retry_after_s)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """RFC 9110 section 10.2.3: seconds, or a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _describe(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
