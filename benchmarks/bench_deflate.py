"""What compression costs: updates of a 20-level book to 500 subscribers on real sockets, with and without permessage-deflate.

A flush encodes, compresses once, and writes 500 times. Two groups of subscribers, equal in everything else, take turns at each update,
so that other load on the machine affects both figures; ``ratio`` is CPU time with compression ÷ CPU time without.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import msgpack
import pytest
import uvloop
from doubles.memory_sink import MemorySink

from mdstream._core.fanout.hub import Hub
from support.websocket import serving

SUBSCRIBERS = 500
ROUNDS = 200
OFFERS = ("", "permessage-deflate")
REQUEST = (
    "GET /v1/stream HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {}\r\n\r\n"
)


class Audience:
    """Subscribers whose sockets are emptied between flushes, and a book that changes near its touch."""

    def __init__(self, changes: int) -> None:
        self.hub = Hub()
        self.instrument = self.hub.add_instrument("SIM:BTC-USD", -2, -8)
        self.random = random.Random(7)
        self.changes = changes
        self.levels = 20
        self.seq = 0
        self.sockets: list[socket.socket] = []
        self.cpu_s = 0.0
        self.received = 0
        self.take(range(20))
        self.hub.flush(1)

    def size(self) -> int:
        return self.random.randrange(1, 10**9)

    def take(self, levels: Iterable[int]) -> None:
        self.seq += 1
        bids = [n for i in levels for n in (6_412_310 - i, self.size())]
        asks = [n for i in levels for n in (6_412_311 + i, self.size())]
        payload = msgpack.packb([1, 1, self.seq, self.seq, 1_700_000_000_000_000, bids, asks])
        self.hub.take_book(self.instrument, payload)

    async def gather(self, stack: AsyncExitStack, format: int, offer: str) -> None:
        loop = asyncio.get_running_loop()
        server = await stack.enter_async_context(serving(self.hub, format))
        topic = self.hub.topic(self.instrument, "book", depth=20)
        for _ in range(SUBSCRIBERS):
            sock = socket.socket()
            stack.callback(sock.close)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            await loop.sock_sendall(sock, REQUEST.format(offer).encode())
            session = await server.opened.get()
            self.hub.subscribe(session.sink, topic)
            self.hub.catch_up(session.sink, topic)
            self.sockets.append(sock)
        self.drain()

    def drain(self) -> int:
        return sum(len(sock.recv(1 << 20)) for sock in self.sockets)

    def prepare(self) -> None:
        self.take(self.random.sample(range(self.levels), self.changes))

    def flush(self) -> None:
        began_s = time.process_time()
        assert self.hub.flush(1) == SUBSCRIBERS
        self.cpu_s += time.process_time() - began_s

    def finish(self) -> None:
        """All subscribers read what the flush wrote."""
        self.received += self.drain()

    def figure(self, total: float, digits: int) -> float:
        return round(total / (ROUNDS * SUBSCRIBERS), digits)


@pytest.mark.parametrize("changes", [5, 20])
@pytest.mark.parametrize("format", [0, 1], ids=["json", "msgpack"])
def test_broadcast(benchmark: Any, format: int, changes: int) -> None:
    plain, packed = Audience(changes), Audience(changes)

    def turn() -> None:
        """Reads the last compressed update, runs a plain one, and prepares the next compressed one."""
        if packed.seq > 1:
            packed.finish()
        for audience in (plain, packed):
            audience.prepare()
        plain.flush()
        plain.finish()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            for audience, offer in zip((plain, packed), OFFERS, strict=True):
                await audience.gather(stack, format, offer)
            benchmark.group = f"{('json', 'msgpack')[format]}, {changes} + {changes} changes"
            benchmark.pedantic(packed.flush, setup=turn, rounds=ROUNDS)
            packed.finish()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
    benchmark.extra_info["ratio"] = round(packed.cpu_s / plain.cpu_s, 3)
    for name, audience in (("plain", plain), ("packed", packed)):
        benchmark.extra_info[f"{name}_us_per_delivery"] = audience.figure(audience.cpu_s * 1e6, 3)
        benchmark.extra_info[f"{name}_bytes_per_delivery"] = audience.figure(audience.received, 0)
    assert (packed.hub.stats()["compressed"] > ROUNDS) == (packed.received < plain.received)


@pytest.mark.parametrize("levels", [5, 20, 200])
@pytest.mark.parametrize("format", [0, 1], ids=["json", "msgpack"])
def test_one_subscriber(benchmark: Any, format: int, levels: int) -> None:
    """The cost of a topic with a single subscriber, without the write: ``us_per_message``, most of it zlib."""
    audience = Audience(levels)
    audience.levels = 200
    sink = MemorySink(format, keep=False, window_bits=15)
    topic = audience.hub.topic(audience.instrument, "book")
    audience.hub.subscribe(sink, topic)
    audience.hub.catch_up(sink, topic)
    benchmark.pedantic(audience.hub.flush, args=(1,), setup=audience.prepare, rounds=ROUNDS)
    stats = audience.hub.stats()
    benchmark.extra_info["us_per_message"] = round(benchmark.stats.stats.median * 1e6, 1)
    benchmark.extra_info["share_left"] = round(
        stats["compressed_bytes_out"] / stats["compressed_bytes_in"], 2
    )
