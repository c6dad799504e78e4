"""What compression costs: one update of a 20-level book to 500 subscribers on real sockets, with and without permessage-deflate.

The time of a flush is encoding, compressing once, and 500 writes; ``us_per_delivery`` is the process's CPU time per delivery.
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

from mdstream._core.hub import Hub
from support.websocket import serving

SUBSCRIBERS = 500
ROUNDS = 200
OFFERS = {"plain": "", "deflate": "permessage-deflate"}
REQUEST = (
    "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: {}\r\n\r\n"
)


class Audience:
    """Subscribers whose sockets are emptied between flushes, and a book that changes near its touch."""

    def __init__(self, changes: int) -> None:
        self.hub = Hub()
        self.instrument = self.hub.add_instrument("SIM:BTC-USD", -2, -8)
        self.random = random.Random(7)
        self.changes = changes
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
        """The next update, once everybody has read the last."""
        self.received += self.drain() if self.seq > 1 else 0
        self.take(self.random.sample(range(20), self.changes))

    def flush(self) -> None:
        began_s = time.process_time()
        assert self.hub.flush(1) == SUBSCRIBERS
        self.cpu_s += time.process_time() - began_s


@pytest.mark.parametrize("changes", [5, 20])
@pytest.mark.parametrize("format", [0, 1], ids=["json", "msgpack"])
@pytest.mark.parametrize("packing", OFFERS)
def test_broadcast(benchmark: Any, format: int, packing: str, changes: int) -> None:
    audience = Audience(changes)

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            await audience.gather(stack, format, OFFERS[packing])
            benchmark.group = f"{('json', 'msgpack')[format]}, {changes} + {changes} changes"
            benchmark.pedantic(audience.flush, setup=audience.prepare, rounds=ROUNDS)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
    deliveries = ROUNDS * SUBSCRIBERS
    benchmark.extra_info["us_per_delivery"] = round(audience.cpu_s * 1e6 / deliveries, 3)
    benchmark.extra_info["bytes_per_delivery"] = round(audience.received / (deliveries - SUBSCRIBERS))
    benchmark.extra_info["compressed"] = audience.hub.stats()["compressed"]
