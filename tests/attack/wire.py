"""A hostile client: blocking sockets, any bytes, and everything that the gateway says is kept and searched for what it must not say."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import struct
import time
from typing import Any, Self

import msgpack

from attack.canary import leaks
from mdstream._core.codec.deflate import inflate
from support.websocket import BINARY, CLOSE, PING, TEXT, frame

DEADLINE_S = 20.0
PROTOCOLS = {"json": "mdstream.v1.json", "msgpack": "mdstream.v1.msgpack"}
DEFLATE = "permessage-deflate"
RSV1 = 0x40
LEAKED: list[str] = []
"""What any client of this process was sent of the canary's."""


class Gone(Exception):
    """The connection ended; ``code`` is that of the close frame, None if there was none."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__(f"closed with {code}" if code else "the connection ended")
        self.code = code


def request(
    path: str = "/v1/stream", *, method: str = "GET", version: str = "1.1", **headers: str | None
) -> bytes:
    """An upgrade request; a header given as None is left out, ``_`` in names stands for ``-``."""
    fields: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode("latin-1")


class Wire:
    """One TCP connection to a gateway. What it receives is checked for the canary's bytes."""

    def __init__(
        self,
        port: int,
        *,
        address: str = "127.0.0.1",
        deadline_s: float = DEADLINE_S,
        receive_buffer: int = 0,
    ) -> None:
        """``address`` is the local end: the gateway counts by it."""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((address, 0))
        self.socket.settimeout(deadline_s)
        self.socket.connect(("127.0.0.1", port))
        self.received = 0
        self.watched = True
        self._deadline_s = deadline_s
        self._data = bytearray()
        self._tail = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # ---- bytes

    def send(self, data: bytes) -> None:
        """Sends it all, or raises Gone where the gateway has ended the connection."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Gone from None

    def send_slowly(self, data: bytes, size: int = 1) -> None:
        """In writes of so many bytes, each a segment of its own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), size):
            self.send(data[at : at + size])

    def reset(self) -> None:
        """Ends the connection with RST, also in the middle of something."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def finish(self) -> None:
        """Sends no more, and reads on."""
        self.socket.shutdown(socket.SHUT_WR)

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            raise Gone from None
        if not data:
            raise Gone
        self.received += len(data)
        if self.watched:
            LEAKED.extend(leaks(self._tail + data))
            self._tail = data[-64:]
        self._data += data

    def take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._more()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def rest(self) -> bytes:
        """Everything until the gateway ends the connection."""
        try:
            while True:
                self._more()
        except Gone:
            taken = bytes(self._data)
            self._data.clear()
            return taken

    def discard(self, seconds: float = 0.0) -> int:
        """Reads and forgets what comes within this time; returns how many bytes that was. Raises Gone."""
        before, until = self.received, time.monotonic() + seconds
        while True:
            left = max(until - time.monotonic(), 0)
            if not select.select([self.socket], [], [], left)[0]:
                return self.received - before
            self._more()
            self._data.clear()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """A whole HTTP answer: status (0: the connection ended without one), headers with lower-case names, body."""
        head, _, body = self.rest().partition(b"\r\n\r\n")
        return *parse_head(head), body


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    if not first.startswith("HTTP/1."):
        return 0, {}
    return int(first.split()[1]), {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
    }


class Attacker(Wire):
    """A session: the same after an upgrade."""

    def __init__(
        self,
        port: int,
        format: str = "json",
        *,
        compression: bool = False,
        pipelined: bytes = b"",
        headers: dict[str, str | None] | None = None,
        path: str = "/v1/stream",
        **options: Any,
    ) -> None:
        super().__init__(port, **options)
        self.format = format
        offer: dict[str, str | None] = {"Sec_WebSocket_Protocol": PROTOCOLS[format]}
        if compression:
            offer["Sec_WebSocket_Extensions"] = DEFLATE
        self.send(request(path, **offer | (headers or {})) + pipelined)
        head = b""
        try:
            while not head.endswith(b"\r\n\r\n"):
                head += self.take(1)
        except Gone:
            self.socket.close()
            raise
        self.status, self.headers = parse_head(head)
        if self.status != 101:
            self.socket.close()
            raise Refused(self.status)
        self._decoded: list[Any] = []

    def say(self, *commands: Any) -> None:
        """In JSON one message each, in MessagePack all in one."""
        if self.format == "msgpack":
            self.send(frame(BINARY, b"".join(msgpack.packb(command) for command in commands)))
        else:
            self.send(b"".join(frame(TEXT, json.dumps(command).encode()) for command in commands))

    def data(self, payload: bytes, **how: Any) -> None:
        """One data frame of the right type; ``how`` as in ``frame``."""
        self.send(frame(BINARY if self.format == "msgpack" else TEXT, payload, **how))

    def frame(self) -> tuple[int, bytes]:
        first, second = self.take(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self.take(2 if size == 126 else 8))
        payload = self.take(size)
        if first & RSV1:
            unpacked = inflate(payload, 1 << 30)
            assert isinstance(unpacked, bytes), unpacked
            payload = unpacked
        return first & 0x0F, payload

    def message(self) -> dict[str, Any]:
        """The next message as a map; data messages of MessagePack as ``{"type": …}`` alone. Raises Gone with the close code."""
        while not self._decoded:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                raise Gone(int.from_bytes(payload[:2]))
            if opcode == PING:
                self.send(frame(10, payload))
            elif opcode in (TEXT, BINARY):
                self._decoded += self._decode(payload)
        return self._decoded.pop(0)

    def _decode(self, payload: bytes) -> list[Any]:
        if self.format == "json":
            return [json.loads(payload)]
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(payload)
        return [value if isinstance(value, dict) else {"type": value[0], "data": value} for value in unpacker]

    def until(self, *types: str) -> dict[str, Any]:
        while True:
            message = self.message()
            if message["type"] in types:
                return message

    def closed(self) -> int | None:
        """The code of the gateway's close frame, None if the connection ends without one."""
        try:
            while True:
                self.message()
        except Gone as gone:
            return gone.code


class Refused(Exception):
    """The upgrade was answered with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the upgrade was answered {status}")
        self.status = status
