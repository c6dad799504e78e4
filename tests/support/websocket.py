"""A WebSocket client that sends raw bytes, also wrong ones, and a server around ``Session``."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from mdstream._core.codec.deflate import inflate
from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup, SessionLimits
from mdstream.gateway.client_listener import ClientListener
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import Accepted
from mdstream.gateway.limits import Limits
from mdstream.gateway.upgrades import Upgrades

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x12\x34\x56\x78"


def masked(payload: bytes) -> bytes:
    repeated = MASK * (len(payload) // 4 + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(repeated[: len(payload)])).to_bytes(len(payload))


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True) -> bytes:
    first = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        length = bytes((bit | len(payload),))
    elif len(payload) < 65536:
        length = bytes((bit | 126,)) + len(payload).to_bytes(2)
    else:
        length = bytes((bit | 127,)) + len(payload).to_bytes(8)
    return first + length + (MASK + masked(payload) if mask else payload)


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason)


class RawClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.extensions = ""
        self.packed = 0

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        pipelined: bytes = b"",
        limit: int = 2**16,
        extensions: str = "",
        subprotocol: str = "mdstream.v1.json",
    ) -> RawClient:
        """Upgrades; sends ``pipelined`` in the same write as the request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=limit)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n"
            f"Sec-WebSocket-Extensions: {extensions}\r\n\r\n".encode()
            + pipelined
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
        except BaseException:
            writer.transport.abort()
            raise
        client = cls(reader, writer)
        client.extensions = head.decode().partition("Sec-WebSocket-Extensions: ")[2].partition("\r\n")[0]
        return client

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame. It must be complete and unmasked, with no extension bit except that of compression, if agreed."""
        first, second = await self.reader.readexactly(2)
        packed = first & 0xF0 == 0xC0 and bool(self.extensions)
        assert (packed or first & 0xF0 == 0x80) and not second & 0x80
        length = second
        if second >= 126:
            length = int.from_bytes(await self.reader.readexactly(2 if second == 126 else 8))
        payload = await self.reader.readexactly(length)
        if packed:
            self.packed += 1
            unpacked = inflate(payload, 1 << 30)
            assert isinstance(unpacked, bytes), unpacked
            payload = unpacked
        return first & 0x0F, payload

    async def message(self) -> bytes:
        opcode, payload = await self.frame()
        assert opcode in (TEXT, BINARY), (opcode, payload)
        return payload

    async def closed_with(self) -> tuple[int, str]:
        """Reads and answers the next close frame, and waits for the end of the connection; returns code and reason."""
        opcode, payload = await self.frame()
        while opcode != CLOSE:
            opcode, payload = await self.frame()
        self.send(frame(CLOSE, payload[:2]))
        assert await self.reader.read() == b"", "bytes came after the close frame"
        self.writer.close()
        return int.from_bytes(payload[:2]), payload[2:].decode()

    def leave(self) -> None:
        self.writer.transport.abort()

    async def end(self) -> None:
        self.leave()
        with suppress(OSError):
            await self.writer.wait_closed()


class Server:
    """Sessions of one hub on a free port, and what their callbacks received."""

    ticking: asyncio.TimerHandle

    def __init__(self, hub: Hub, format: int, any_type: bool = False, **limits: Any) -> None:
        self.hub = hub
        self.format = format
        self.port = 0
        self.upgrades = Upgrades(compression=True)
        self.group = SessionGroup(
            hub,
            on_request=self.requested,
            on_open=lambda session: self.opened.put_nowait(session),
            on_message=lambda session, payload: self.received(session, payload),
            on_close=self.closed,
            on_limited=lambda session, kind: self.on_limited(session, kind),
            limits=SessionLimits(**limits),
            any_type=any_type,
        )
        self.clients: list[RawClient] = []
        self.opened: asyncio.Queue[Session] = asyncio.Queue()
        self.closes: asyncio.Queue[int] = asyncio.Queue()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.on_message: Callable[[Session, bytes], None] = lambda session, payload: None
        self.received: Callable[[Session, bytes], None] = self._keep
        self.on_limited: Callable[[Session, str], None] = lambda session, kind: None
        self.ended: Callable[[Session, int], None] = lambda session, code: None

    def _keep(self, session: Session, payload: bytes) -> None:
        self.messages.put_nowait(payload)
        self.on_message(session, payload)

    def echo(self) -> None:
        """Echoes each message and keeps none, because the conformance cases send gigabytes."""
        self.received = lambda session, payload: session.send_control(payload)

    def requested(self, session: Session, head: bytes) -> None:
        verdict, answer = self.upgrades.answer(head, None)
        assert isinstance(verdict, Accepted), answer
        session.accept(answer, self.format, verdict.deflate.window_bits if verdict.deflate else 0)

    def closed(self, session: Session, code: int) -> None:
        self.ended(session, code)
        self.closes.put_nowait(code)

    def tick(self) -> None:
        self.group.tick()
        self.ticking = asyncio.get_running_loop().call_later(0.01, self.tick)

    async def connect(self, **options: Any) -> tuple[RawClient, Session]:
        client = await RawClient.connect(self.port, **options)
        self.clients.append(client)
        return client, await self.opened.get()


@asynccontextmanager
async def serving(
    hub: Hub,
    format: int = 0,
    *,
    compiled: bool = True,
    tls: ssl.SSLContext | None = None,
    max_handshakes: int = 100,
    send_buffer_bytes: int = 0,
    notsent_lowat_bytes: int = 0,
    **options: Any,
) -> AsyncIterator[Server]:
    server = Server(hub, format, **options)
    listener = ClientListener(
        server.group,
        turn_away=lambda status, why_not: b"",
        limits=Limits(GatewayConfig(), time.monotonic),
        max_handshakes=max_handshakes,
        tls=tls,
        compiled=compiled,
    )
    lowat = {"send_buffer_bytes": send_buffer_bytes, "notsent_lowat_bytes": notsent_lowat_bytes}
    await listener.open("127.0.0.1", 0, **lowat)
    listener.take_clients()
    server.port = listener.port
    server.tick()
    try:
        yield server
    finally:
        for client in server.clients:
            await client.end()
        server.ticking.cancel()
        listener.close()
        await listener.end()
