"""A WebSocket client that does exactly what it is told, and a publisher of raw contract payloads."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream._core.codec.deflate import inflate
from mdstream.bus import Bus, connect, subject
from mdstream.gateway import Gateway, GatewayConfig
from mdstream.model import InstrumentId

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
SUBPROTOCOL = {"json": "mdstream.v1.json", "msgpack": "mdstream.v1.msgpack"}
DATA_TYPES = {
    1: "delta",
    2: "snapshot",
    3: "trades",
    4: "ticker",
    5: "heartbeat",
    7: "board_names",
    8: "board_snapshot",
    9: "board",
    10: "candles",
    11: "event",
}
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


class Closed(Exception):
    """The server closed with ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Response:
    """An HTTP answer: ``status``, ``headers`` (lower-case names), ``body``."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body


async def request(port: int, raw: bytes, *, source: str = "127.0.0.1") -> Response:
    """One HTTP exchange on a connection of its own, from an address of loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        writer.write(raw)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return Response(head, body)
    finally:
        writer.close()
        await writer.wait_closed()


def upgrade_request(path: str = "/v1/stream", **headers: str | None) -> bytes:
    """An upgrade request; a header given as None is left out, ``_`` in names stands for ``-``."""
    key = base64.b64encode(os.urandom(16)).decode()
    fields: dict[str, str | None] = {"Host": "localhost", **UPGRADE, "Sec-WebSocket-Key": key}
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


class WsClient:
    """One connection; ``recv`` gives the next protocol message as a map whatever the format."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, format: str) -> None:
        self._reader, self._writer, self.format = reader, writer, format
        self._decoded: list[Any] = []

    @classmethod
    async def open(
        cls,
        port: int,
        format: str = "json",
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
        source: str = "",
        path: str = "/v1/stream",
        **headers: str | None,
    ) -> WsClient:
        """``receive_buffer`` bytes of the kernel's, fixed, for one who is to be slow soon; 0: as the kernel likes. ``source``: from
        which address, of loopback."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((source, 0))
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        name = "127.0.0.1" if tls else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name)
        offer: dict[str, str | None] = {"Sec_WebSocket_Protocol": SUBPROTOCOL[format], **headers}
        writer.write(upgrade_request(path, **offer))
        client = cls(reader, writer, format)
        cls.opened.append(client)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        client.response = Response(head.removesuffix(b"\r\n\r\n"), b"")
        return client

    response: Response
    opened: list[WsClient]

    def send_frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([opcode | (0x80 if fin else 0)])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += b"\xfe" + struct.pack("!H", size)
        else:
            head += b"\xff" + struct.pack("!Q", size)
        masked = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        self._writer.write(head + mask + masked.to_bytes(size, "big"))

    def send_raw(self, payload: bytes) -> None:
        self.send_frame(TEXT if self.format == "json" else BINARY, payload)

    def send(self, *commands: Any) -> None:
        """In JSON one message each, in MessagePack all in one."""
        if self.format == "msgpack":
            self.send_raw(b"".join(msgpack.packb(command) for command in commands))
            return
        for command in commands:
            self.send_raw(json.dumps(command).encode())

    async def recv_frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        assert first & 0x80, "the server never fragments"
        payload = await self._reader.readexactly(size)
        if first & 0x40:
            assert "sec-websocket-extensions" in self.response.headers, "compressed, but not agreed on"
            unpacked = inflate(payload, 1 << 30)
            assert isinstance(unpacked, bytes), unpacked
            payload = unpacked
        return first & 0x0F, payload

    async def recv(self, *, heartbeats: bool = False) -> dict[str, Any]:
        """The next message; raises Closed when the server closes. Heartbeats come whenever they like: asked for only.

        Pings are answered on the way.
        """
        while True:
            while not self._decoded:
                await self._read_message()
            message = _as_map(self._decoded.pop(0))
            if heartbeats or message["type"] != "heartbeat":
                return message

    async def _read_message(self) -> None:
        opcode, payload = await self.recv_frame()
        if opcode == CLOSE:
            self.send_frame(CLOSE, payload)
            self._writer.close()
            raise Closed(struct.unpack("!H", payload[:2])[0])
        if opcode == PING:
            self.send_frame(PONG, payload)
            return
        assert opcode == (TEXT if self.format == "json" else BINARY)
        if self.format == "json":
            self._decoded.append(json.loads(payload))
        else:
            unpacker = msgpack.Unpacker()
            unpacker.feed(payload)
            self._decoded.extend(unpacker)

    async def until(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next message of a type with these fields; others are dropped."""
        while True:
            message = await self.recv(heartbeats=type == "heartbeat")
            if message["type"] == type and all(message.get(name) == value for name, value in fields.items()):
                return message

    async def closed(self) -> int:
        """The code that the server closes with."""
        try:
            while True:
                await self.recv()
        except Closed as closed:
            return closed.code

    def close(self) -> None:
        self._writer.close()

    async def abort(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def stop_reading(self) -> None:
        self._writer.transport.pause_reading()

    def read_on(self) -> None:
        self._writer.transport.resume_reading()


_FIELDS = {
    1: ("sub", "first", "last", "ts", "bids", "asks", "crc"),
    2: ("sub", "epoch", "seq", "ts", "bids", "asks", "crc", "reason"),
    3: ("sub", "epoch", "first", "last", "trades"),
    5: ("time", "seqs"),
    7: ("sub", "names"),
    8: ("sub", "epoch", "seq", "ts", "rows", "gone"),
    9: ("sub", "first", "last", "ts", "rows", "gone"),
    10: ("sub", "rows", "more"),
    11: ("sub", "topic", "seq", "prev", "time", "event", "data", "sender", "redelivered"),
}


def _as_map(message: Any) -> dict[str, Any]:
    if isinstance(message, dict):
        return message
    if message[0] == 4:
        sub, epoch, seq, ts, bid, bid_lots, ask, ask_lots, last, last_lots = message[1:]
        quotes = {"bid": (bid, bid_lots), "ask": (ask, ask_lots), "last": (last, last_lots)}
        return {"type": "ticker", "sub": sub, "epoch": epoch, "seq": seq, "ts": ts, **quotes}
    return {"type": DATA_TYPES[message[0]], **dict(zip(_FIELDS[message[0]], message[1:], strict=True))}


class RawFeed:
    """Publishes one instrument by hand: the numbers of the contract, no SDK."""

    def __init__(self, bus: Bus, name: str, epoch: int = 1_000) -> None:
        self.bus = bus
        self.id = InstrumentId.parse(name)
        self.epoch = epoch
        self.seq = 0
        self.trade_seq = 0

    async def put(self, stream: str, *values: Any) -> None:
        payload = b"".join(msgpack.packb(value) for value in values)
        await self.bus.publish(subject(self.id, stream), payload)

    async def announce(self, bids: list[int] | None = None, asks: list[int] | None = None) -> None:
        """``ref``, ``status`` and a first ``snap``, stored when this returns. A book with levels has number 1."""
        self.seq += bids is not None or asks is not None
        ref = {
            "epoch": self.epoch,
            "price_exp": -2,
            "size_exp": -3,
            "tick": 1,
            "lot": 1,
            "name": str(self.id),
        }
        for stream, value in (
            ("ref", ref),
            ("status", [5, self.epoch, 1, "trading", None]),
            ("snap", [2, self.epoch, self.seq, 1, bids or [], asks or []]),
        ):
            await self.bus.publish_acked(subject(self.id, stream), msgpack.packb(value))

    async def book(self, bids: list[int], asks: list[int], *, ts_us: int = 5) -> int:
        self.seq += 1
        await self.put("book", [1, self.epoch, self.seq, self.seq, ts_us, bids, asks])
        return self.seq

    async def trade(self, price: int, size: int, side: int = 1) -> int:
        self.trade_seq += 1
        await self.put("trade", [3, self.epoch, self.trade_seq, 7, price, size, side, f"t{self.trade_seq}"])
        return self.trade_seq

    async def stored(self) -> None:
        """Returns when the log has the newest update, which follows its publishing by a moment."""
        newest = None
        while newest is None or msgpack.unpackb(newest)[3] < self.seq:
            newest = await self.bus.last("MD_LOG", subject(self.id, "book"))

    async def status(self, state: str, reason: str | None = None) -> None:
        await self.put("status", [5, self.epoch, 9, state, reason])


@asynccontextmanager
async def _gateway(url: str, bus: Bus | None = None, **changes: Any) -> AsyncIterator[Gateway]:
    options = {"port": 0, "admin_port": 0, "node": "test", "drain_spread_ms": 0, **changes}
    gateway = Gateway(GatewayConfig(nats=(url,), **options), bus)
    await gateway.start()
    try:
        await gateway.wait_ready()
        yield gateway
    finally:
        for client in WsClient.opened:
            await client.abort()
        await gateway.stop()


@asynccontextmanager
async def _feed(url: str, name: str) -> AsyncIterator[RawFeed]:
    async with await connect(url) as bus:
        await bus.ensure_streams()
        yield RawFeed(bus, name)


@pytest.fixture
def gateway() -> Callable[..., Any]:
    """``async with gateway(url, **config)``: a gateway that is ready, on free ports; with ``bus``, on a connection of the test's."""
    return _gateway


@pytest.fixture
def feed() -> Callable[..., Any]:
    """``async with feed(url, name)``: a ``RawFeed``; the streams exist."""
    return _feed


@pytest.fixture
def ws() -> type[WsClient]:
    """``await ws.open(port, format)``; closed at the end of the scenario."""
    WsClient.opened = []
    return WsClient


@pytest.fixture
def run(run: Callable[..., Any], ws: type[WsClient]) -> Callable[..., Any]:
    """As everywhere; closes the clients that the scenario opened."""

    async def closing(scenario: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await scenario
        finally:
            for client in ws.opened:
                await client.abort()

    return lambda scenario, **options: run(closing(scenario), **options)


@pytest.fixture
def http() -> Callable[..., Any]:
    """``await http(port, raw_request)``."""
    return request


@pytest.fixture
def upgrade() -> Callable[..., bytes]:
    """An upgrade request as bytes; ``upgrade(path, Header_Name=value)``."""
    return upgrade_request
