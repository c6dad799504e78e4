"""What each system's clients say and hear over their WebSocket. No I/O: a wire is given what came, and gives what is to be sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

read = msgspec.json.decode
write = msgspec.json.encode


class Wire:
    """One connection. What is published holds when it was sent; ``took`` has how long after that each message came, in seconds."""

    path: ClassVar[str] = "/"
    headers: ClassVar[dict[str, str]] = {}
    is_binary: ClassVar[bool] = False

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.send = send
        self.is_open = False
        self.joined = 0
        """Topics that are subscribed to."""
        self.answered = 0
        """Messages that the server said it has taken."""
        self.refused: list[str] = []
        self.topics: set[str] = set()
        """Those of which something came."""
        self.took: list[float] = []
        self._last_id = 0

    def begin(self) -> None:
        """The upgrade has succeeded."""

    def take(self, data: bytes) -> None:
        raise NotImplementedError

    def join(self, topics: list[str]) -> None:
        raise NotImplementedError

    def publish(self, topic: str, data: list[Any]) -> None:
        raise NotImplementedError

    def came(self, topic: str, data: list[Any]) -> None:
        self.took.append(time.perf_counter() - data[0])
        self.topics.add(topic)

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id


class Mdstream(Wire):
    path = "/v1/stream"
    headers: ClassVar[dict[str, str]] = {"Sec-WebSocket-Protocol": "mdstream.v1.json"}

    def take(self, data: bytes) -> None:
        message = read(data)
        match message["type"]:
            case "event":
                self.came(message["topic"], message["data"])
            case "published":
                self.answered += 1
            case "subscribed":
                self.joined += 1
            case "welcome":
                self.is_open = True
            case "error":
                self.refused.append(message["message"])

    def join(self, topics: list[str]) -> None:
        self.send(write({"id": self.next_id(), "op": "subscribe", "channel": "events", "topics": topics}))

    def publish(self, topic: str, data: list[Any]) -> None:
        number = self.next_id()
        command = {"id": number, "op": "publish", "topic": topic, "event": "n", "data": data}
        self.send(write(command | {"key": f"{number}"}))


class Centrifugo(Wire):
    path = "/connection/websocket"

    def begin(self) -> None:
        self._command("connect", {})

    def take(self, data: bytes) -> None:
        for line in data.splitlines():
            message = read(line)
            if "push" in message:
                self.came(message["push"]["channel"], message["push"]["pub"]["data"])
            elif "publish" in message:
                self.answered += 1
            elif "subscribe" in message:
                self.joined += 1
            elif "connect" in message:
                self.is_open = True
            elif "error" in message:
                self.refused.append(str(message["error"]))
            elif not message:
                self.send(b"{}")  # the answer to a ping

    def join(self, topics: list[str]) -> None:
        for topic in topics:
            self._command("subscribe", {"channel": topic})

    def publish(self, topic: str, data: list[Any]) -> None:
        self._command("publish", {"channel": topic, "data": data})

    def _command(self, name: str, fields: dict[str, Any]) -> None:
        self.send(write({"id": self.next_id(), name: fields}))


class SocketIo(Wire):
    path = "/socket.io/?EIO=4&transport=websocket"

    def take(self, data: bytes) -> None:
        if data.startswith(b"42"):
            _, topic, sent = read(data[2:])
            self.came(topic, sent)
        elif data.startswith(b"430["):
            self.joined = self._asked
        elif data.startswith(b"43"):
            self.answered += 1
        elif data.startswith(b"40"):
            self.is_open = True
        elif data.startswith(b"0"):
            self.send(b"40")
        elif data == b"2":
            self.send(b"3")
        else:
            self.refused.append(data.decode())

    def join(self, topics: list[str]) -> None:
        self._asked = len(topics)
        self.send(b"420" + write(["join", topics]))

    def publish(self, topic: str, data: list[Any]) -> None:
        self.send(b"42%d" % self.next_id() + write(["publish", topic, data]))


class Nats(Wire):
    """The protocol of NATS itself, in binary frames. Nobody says that a message was taken."""

    is_binary = True

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__(send)
        self._rest = b""

    def begin(self) -> None:
        self.send(b'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\nPING\r\n')

    def take(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            line = data[at:end]
            at, before = end + 2, at
            if line.startswith(b"MSG "):
                length = int(line.rpartition(b" ")[2])
                if len(data) < at + length + 2:
                    at = before
                    break
                self.came(line.split(b" ")[1].decode(), read(data[at : at + length]))
                at += length + 2
            elif line == b"PING":
                self.send(b"PONG\r\n")
            elif line == b"PONG":
                self.is_open = True
            elif line.startswith(b"-ERR"):
                self.refused.append(line.decode())
        self._rest = data[at:]

    def join(self, topics: list[str]) -> None:
        self.send(b"".join(b"SUB %s %d\r\n" % (topic.encode(), self.next_id()) for topic in topics))
        self.joined = len(topics)

    def publish(self, topic: str, data: list[Any]) -> None:
        payload = write(data)
        self.send(b"PUB %s %d\r\n%s\r\n" % (topic.encode(), len(payload), payload))
        self.answered += 1
