"""What a hostile client does, each kind once, at any size; and what came of it. A gateway on ``port`` is all that they need.

Each attack is a coroutine ``attack(port, size, instrument) -> Outcome`` in ``ATTACKS``, by name; it ends when it was closed, or when
the gateway has answered all of it. ``instrument`` is one that the gateway serves, with as deep a book as it can be.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgpack

from support.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, frame

RSV1 = 4
MSGPACK_PROTOCOL = "mdstream.v1.msgpack"
DEFLATE_OFFER = "permessage-deflate; client_max_window_bits"
END = "the end"


@dataclass
class Outcome:
    """What an attack sent and was sent, summed over its connections."""

    sent_bytes: int = 0
    received_bytes: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    """By type; ``pong frame`` counts those of WebSocket."""
    errors: Counter[str] = field(default_factory=Counter)
    closed: Counter[int] = field(default_factory=Counter)
    """By close code; 0: dropped without a close frame."""


Attack = Callable[[int, int, str], Awaitable[Outcome]]


class Attacker:
    """One connection."""

    def __init__(self, client: RawClient, outcome: Outcome, format: str) -> None:
        self._client = client
        self._outcome = outcome
        self._format = format

    @classmethod
    async def connect(
        cls, port: int, outcome: Outcome, format: str = "msgpack", *, deflate: bool = False
    ) -> Attacker:
        client = await RawClient.connect(
            port, subprotocol=f"mdstream.v1.{format}", extensions=DEFLATE_OFFER if deflate else ""
        )
        return cls(client, outcome, format)

    def send(self, data: bytes) -> None:
        """Raw bytes; what the kernel does not take is kept, so that sending never waits for reading."""
        self._outcome.sent_bytes += len(data)
        self._client.writer.write(data)

    def command(self, **command: Any) -> bytes:
        """A frame with one command."""
        if self._format == "json":
            return frame(TEXT, json.dumps(command).encode())
        return frame(BINARY, msgpack.packb(command))

    async def subscribe(self, instrument: str, **fields: Any) -> int:
        """Subscribes to the book and reads up to its snapshot; returns the number of the subscription."""
        self.send(self.command(op="subscribe", channel="book", instruments=[instrument], **fields))
        sub = 0
        while True:
            message = await self.message()
            if message is None:
                raise ConnectionError("closed before the snapshot")
            if message.get("type") == "subscribed":
                sub = message["sub"]
            if message.get("type") == "snapshot":
                return sub

    async def message(self) -> dict[str, Any] | None:
        """The next message, of which all but control messages are known by type alone; None when the connection has ended."""
        try:
            opcode, payload = await self._client.frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            self._outcome.closed[0] += 1
            return None
        self._outcome.received_bytes += len(payload)
        if opcode == CLOSE:
            self._outcome.closed[struct.unpack("!H", payload[:2])[0]] += 1
            self._client.leave()
            return None
        message = {"type": "pong frame"} if opcode == PONG else self._decode(opcode, payload)
        self._outcome.messages[message["type"]] += 1
        if message["type"] == "error":
            self._outcome.errors[message["code"]] += 1
        return message

    def _decode(self, opcode: int, payload: bytes) -> dict[str, Any]:
        if opcode == PING:
            return {"type": "ping frame"}
        if self._format == "json":
            data = payload.startswith((b'{"type":"snapshot"', b'{"type":"delta"'))
            return {"type": payload[9:].split(b'"')[0].decode()} if data else json.loads(payload)
        if payload[0] & 0xF0 == 0x90:
            return {"type": {1: "delta", 2: "snapshot"}.get(payload[1], "data")}
        message: dict[str, Any] = msgpack.unpackb(payload)
        return message

    async def read_to_the_end(self) -> None:
        """Reads until all that was sent is answered, or the connection ends."""
        self.send(self.command(op="ping", id=END))
        while (message := await self.message()) is not None:
            if message.get("id") == END:
                self._client.leave()
                return

    def leave(self) -> None:
        self._client.leave()

    def stop_reading(self) -> None:
        self._client.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def read_on(self) -> None:
        self._client.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def sent(self, data: bytes) -> bool:
        """Sends, and waits while the gateway reads nothing; False if the connection has ended."""
        self.send(data)
        try:
            await self._client.writer.drain()
        except ConnectionError:
            return False
        return True

    def reset(self) -> None:
        """Ends the connection at once, with a reset."""
        sock = self._client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.writer.transport.abort()


def deflated(payload: bytes) -> bytes:
    """A compressed message's bytes."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def batches(value: bytes, count: int, most_bytes: int = 60_000) -> Iterator[bytes]:
    """``count`` times the same value, in messages of at most so many bytes."""
    each = max(most_bytes // len(value), 1)
    for start in range(0, count, each):
        yield value * min(each, count - start)


# ---- one connection


async def recovers_in_one_frame(port: int, size: int, instrument: str) -> Outcome:
    """``size`` times `recover` from 0, in as few MessagePack messages as they fit in; everything is read."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome)
    sub = await attacker.subscribe(instrument)
    recover = msgpack.packb({"op": "recover", "sub": sub, "from": 0})
    for batch in batches(recover, size):
        attacker.send(frame(BINARY, batch))
    await attacker.read_to_the_end()
    return outcome


async def recovers_as_json(port: int, size: int, instrument: str) -> Outcome:
    """The same as one JSON message each."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome, "json")
    sub = await attacker.subscribe(instrument)
    attacker.send(attacker.command(op="recover", sub=sub, **{"from": 0}) * size)
    await attacker.read_to_the_end()
    return outcome


async def subscriptions_again_and_again(port: int, size: int, instrument: str) -> Outcome:
    """``size`` times `subscribe` and `unsubscribe`: a snapshot each."""
    outcome = Outcome()
    keeper = await Attacker.connect(port, Outcome())
    await keeper.subscribe(instrument)  # so that the number of the subscription stays
    attacker = await Attacker.connect(port, outcome)
    sub = await attacker.subscribe(instrument)
    both = msgpack.packb({"op": "unsubscribe", "subs": [sub]}) + msgpack.packb(
        {"op": "subscribe", "channel": "book", "instruments": [instrument]}
    )
    for batch in batches(both, size):
        attacker.send(frame(BINARY, batch))
    await attacker.read_to_the_end()
    keeper.leave()
    return outcome


async def deflated_maps(port: int, size: int, instrument: str) -> Outcome:
    """``size`` pings of a hundred bytes that unpack to 60,000 empty maps."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome, "json", deflate=True)
    ping = b'{"op":"ping","data":[' + b"{}," * 20_000 + b"{}]}"
    attacker.send(frame(TEXT, deflated(ping), rsv=RSV1) * size)
    await attacker.read_to_the_end()
    return outcome


async def deflated_values(port: int, size: int, instrument: str) -> Outcome:
    """``size`` messages of a hundred bytes that unpack to 60,000 values, none of which is a command."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome, deflate=True)
    attacker.send(frame(BINARY, deflated(b"\x80" * 60_000), rsv=RSV1) * size)
    await attacker.read_to_the_end()
    return outcome


async def pings(port: int, size: int, instrument: str) -> Outcome:
    """``size`` WebSocket pings."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome)
    attacker.send(frame(PING, b"!") * size)
    await attacker.read_to_the_end()
    return outcome


async def pongs(port: int, size: int, instrument: str) -> Outcome:
    """``size`` pongs that nobody asked for."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome)
    attacker.send(frame(PONG) * size)
    await attacker.read_to_the_end()
    return outcome


async def empty_fragments(port: int, size: int, instrument: str) -> Outcome:
    """A message in ``size`` fragments without a byte, which never ends."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome)
    attacker.send(frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * size)
    attacker.send(frame(CONTINUATION, b"\xc0"))
    await attacker.read_to_the_end()
    return outcome


async def many_commands(port: int, size: int, instrument: str) -> Outcome:
    """``size`` application pings in as few messages as they fit in."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome)
    for batch in batches(msgpack.packb({"op": "ping"}), size):
        attacker.send(frame(BINARY, batch))
    await attacker.read_to_the_end()
    return outcome


async def pings_never_read(port: int, size: int, instrument: str) -> Outcome:
    """Up to ``size`` application pings of 60,000 bytes, whose answers are never read, until the gateway takes no more."""
    outcome = Outcome()
    attacker = await Attacker.connect(port, outcome, "json")
    attacker.stop_reading()
    ping = attacker.command(op="ping", data="x" * 60_000)
    for _ in range(size):
        if not await attacker.sent(ping):
            outcome.closed[0] += 1
            return outcome
    attacker.read_on()
    await attacker.read_to_the_end()
    return outcome


# ---- many connections


async def never_reads(port: int, size: int, instrument: str) -> Outcome:
    """``size`` clients that ask for the book twenty times, and never read; they leave when each has been answered something."""
    outcome = Outcome()
    attackers = [await Attacker.connect(port, outcome) for _ in range(size)]
    for attacker in attackers:
        sub = await attacker.subscribe(instrument)
        attacker.stop_reading()
        recover = msgpack.packb({"op": "recover", "sub": sub, "from": 0})
        attacker.send(frame(BINARY, recover * 20))
    return outcome


async def resets_in_commands(port: int, size: int, instrument: str) -> Outcome:
    """``size`` clients that send a hundred subscribes to views of their own and reset the connection before they read an answer."""
    outcome = Outcome()
    for number in range(size):
        attacker = await Attacker.connect(port, outcome)
        subscribes = b"".join(
            msgpack.packb(
                {
                    "op": "subscribe",
                    "channel": "book",
                    "instruments": [instrument],
                    "depth": depth,
                    "group": number * 100 + i + 2,
                }
            )
            for i in range(20)
            for depth in (0, 5, 10, 20, 50)
        )
        attacker.send(frame(BINARY, subscribes))
        await asyncio.sleep(0)
        attacker.reset()
    return outcome


async def slow_requests(port: int, size: int, instrument: str) -> Outcome:
    """``size`` upgrade requests that come a byte at a time, until the gateway has had enough."""
    outcome = Outcome()
    request = b"GET /v1/stream HTTP/1.1\r\nHost: test\r\nX-Filler: " + b"x" * 10_000

    async def trickle() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = asyncio.ensure_future(reader.read())
        for byte in request:
            if answer.done():
                break
            writer.write(bytes((byte,)))
            outcome.sent_bytes += 1
            await asyncio.wait((answer,), timeout=0.01)
        with suppress(ConnectionError):
            outcome.received_bytes += len(await answer)
        outcome.closed[0] += 1
        writer.close()

    await asyncio.gather(*[trickle() for _ in range(size)])
    return outcome


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        recovers_in_one_frame,
        recovers_as_json,
        subscriptions_again_and_again,
        deflated_maps,
        deflated_values,
        pings,
        pongs,
        empty_fragments,
        many_commands,
        pings_never_read,
        never_reads,
        resets_in_commands,
        slow_requests,
    )
}
