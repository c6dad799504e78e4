"""Scripted servers, each in a thread: a gateway that can break the contract, and a NATS server."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack

from vectors import reference

PRICE_EXP, SIZE_EXP = -2, -8
DEADLINE_S = 20.0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    size = len(payload)
    head = bytes(((0x80 if fin else 0) | opcode,))
    if size < 126:
        return head + bytes((size,)) + payload
    if size < 65536:
        return head + bytes((126,)) + size.to_bytes(2, "big") + payload
    return head + bytes((127,)) + size.to_bytes(8, "big") + payload


class Peer:
    """One connection, on the server's side."""

    def __init__(self, connection: socket.socket, format: str, chunk: int) -> None:
        self._connection, self._chunk = connection, chunk
        self._come = b""
        self.format, self.opcode = format, 1 if format == "json" else 2

    def read_request(self) -> bytes:
        while b"\r\n\r\n" not in self._come:
            self._more()
        head, _, self._come = self._come.partition(b"\r\n\r\n")
        return head

    def upgrade(self, subprotocol: str | None = None) -> None:
        """Answers as a gateway, and sends ``welcome``."""
        lines = self.read_request().decode().split("\r\n")[1:]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        accept = base64.b64encode(
            hashlib.sha1(headers["sec-websocket-key"].encode() + GUID).digest()
        ).decode()
        chosen = subprotocol or headers["sec-websocket-protocol"]
        self.raw(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {chosen}\r\n\r\n".encode()
        )
        self.say({"type": "welcome", "version": 1, "node": "fake", "limits": {"depths": [0, 20]}})

    def raw(self, data: bytes) -> None:
        for at in range(0, len(data), self._chunk):
            self._connection.sendall(data[at : at + self._chunk])

    def say(self, message: dict[str, Any]) -> None:
        self.send(message, message)

    def send(self, as_json: Any, as_msgpack: Any) -> None:
        self.raw(frame(self.opcode, self.encode(as_json, as_msgpack)))

    def encode(self, as_json: Any, as_msgpack: Any) -> bytes:
        if self.format == "json":
            return json.dumps(as_json, separators=(",", ":"), ensure_ascii=False).encode()
        return msgpack.packb(as_msgpack)

    def data(self, kind: str, **fields: Any) -> None:
        """A data message with flat levels, from the reference encoders."""
        self.raw(frame(self.opcode, self.data_payload(kind, **fields)))

    def data_payload(self, kind: str, **fields: Any) -> bytes:
        as_json, packed = reference.DATA[kind](fields, PRICE_EXP, SIZE_EXP)
        return self.encode(as_json, packed)

    def command(self) -> dict[str, Any]:
        """The next command of the client."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == self.opcode:
                return json.loads(payload) if self.format == "json" else msgpack.unpackb(payload)

    def read_frame(self) -> tuple[int, bytes]:
        self._until(2)
        size = self._come[1] & 127
        assert self._come[1] & 128, "a client masks its frames"
        head = 2 if size < 126 else 4 if size == 126 else 10
        if head > 2:
            self._until(head)
            size = int.from_bytes(self._come[2:head], "big")
        self._until(head + 4 + size)
        mask, payload = self._come[head : head + 4], self._come[head + 4 : head + 4 + size]
        opcode, self._come = self._come[0] & 15, self._come[head + 4 + size :]
        return opcode, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    def subscribed(self, command: dict[str, Any], **more: Any) -> None:
        """Answers a subscribe command; the subscriptions have numbers from 7."""
        for number, instrument in enumerate(command["instruments"], 7):
            self.say(
                {
                    "type": "subscribed", "id": command["id"], "sub": number, "channel": command["channel"],
                    "instrument": instrument, "depth": command.get("depth", 0), "group": 1, "interval_ms": 0,
                    "price_exp": PRICE_EXP, "size_exp": SIZE_EXP, "resumed": False,
                } | more
            )  # fmt: skip

    def until_closed(self) -> None:
        while self._connection.recv(65536):
            pass

    def reset(self) -> None:
        self._connection.close()

    def _until(self, size: int) -> None:
        while len(self._come) < size:
            self._more()

    def _more(self) -> None:
        more = self._connection.recv(65536)
        if not more:
            raise ConnectionError("the client hung up")
        self._come += more


class Fake:
    """A listening socket, and the errors in its thread."""

    def __init__(self, serve: Callable[[socket.socket], None], connections: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        self.port = self._listener.getsockname()[1]
        self._serve, self._connections = serve, connections
        self._wrong: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for _ in range(self._connections):
                connection, _address = self._listener.accept()
                connection.settimeout(DEADLINE_S)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with connection:
                    self._serve(connection)
        except BaseException as error:
            self._wrong.append(error)

    def end(self) -> None:
        """Raises the first error of its thread."""
        self._thread.join(DEADLINE_S)
        self._listener.close()
        if self._wrong:
            raise self._wrong[0]


@contextmanager
def fake_gateway(
    play: Callable[[Peer], None], format: str = "msgpack", *, connections: int = 1, chunk: int = 1 << 30
) -> Iterator[tuple[str, int]]:
    """Calls ``play`` for each connection, one after the other; sends bytes in chunks of that size. An error in ``play`` fails the test."""

    def serve(connection: socket.socket) -> None:
        play(Peer(connection, format, chunk))

    fake = Fake(serve, connections)
    try:
        yield "127.0.0.1", fake.port
    finally:
        fake.end()


class FakeNats:
    """Accepts a publisher, and keeps what it publishes as (subject, payload)."""

    def __init__(self, greeting: bytes = b"INFO {}\r\n", answer: bytes = b"PONG\r\n") -> None:
        self.published: list[tuple[str, bytes]] = []
        self.connect: dict[str, Any] = {}
        self._greeting, self._answer = greeting, answer
        self._fake = Fake(self._serve, 1)
        self.port = self._fake.port

    def _serve(self, connection: socket.socket) -> None:
        connection.sendall(self._greeting)
        with connection.makefile("rb") as lines:
            for line in lines:
                word, *rest = line.split()
                if word == b"CONNECT":
                    self.connect = json.loads(line[8:])
                elif word == b"PING":
                    connection.sendall(self._answer)
                elif word == b"PUB":
                    self.published.append((rest[0].decode(), lines.read(int(rest[-1]))))
                    assert lines.read(2) == b"\r\n"

    def end(self) -> None:
        self._fake.end()
