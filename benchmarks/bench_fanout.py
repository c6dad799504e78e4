"""From a batch of the bus to every subscriber: ``python -m pytest benchmarks/bench_fanout.py``.

A round applies one batch of ``UPDATES`` updates of 5 + 5 levels to a book of 500 levels a side, and flushes. ``memory``
counts instead of writing. ``sockets`` are WebSocket sessions over loopback TCP, read empty between rounds, outside the measured time.
The extra columns: ``ns`` per delivery (a message to a subscriber), ``us_per_write`` per touched subscriber and batch.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvloop
from doubles.memory_sink import MemorySink

from mdstream._core.codec.feed_encoder import pack_book, pack_snap
from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.instrument import Instrument
from mdstream._core.fanout.sender import Sender
from mdstream._core.fanout.sink import Sink
from mdstream._core.fanout.topic import Topic
from mdstream._core.net.sender_uring import UringSender
from mdstream._core.net.session import Session
from mdstream._core.net.session_group import SessionGroup
from mdstream.gateway.client_listener import ClientListener
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.limits import Limits
from mdstream.gateway.upgrades import Upgrades

LEVELS = 500
UPDATES = 5
ROUNDS = 200
EPOCH = 1_723_075_200_000_000
NOW = EPOCH + 1_000_000
UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FORMATS = {"json": 0, "msgpack": 1}
VIEWS = {
    "full": [("book", 0)],
    "depth20": [("book", 20)],
    "three": [("book", 20), ("book", 0), ("ticker", 0)],
}


class Market:
    """One instrument, and batches that change it, also at the touch."""

    def __init__(self, sender: Sender | None = None) -> None:
        self.hub = Hub(sender=sender)
        self.instrument: Instrument = self.hub.add_instrument("SIM:BTC-USD", -2, -8)
        self.random = random.Random(1)
        self.seq = 0
        bids = [n for i in range(LEVELS) for n in (1_000_000 - i, 10**8)]
        asks = [n for i in range(LEVELS) for n in (1_000_001 + i, 10**8)]
        self.hub.load_snap(self.instrument, pack_snap(EPOCH, 0, EPOCH, bids, asks))
        self.hub.tick(NOW)

    def batch(self) -> bytes:
        return b"".join(self._update() for _ in range(UPDATES))

    def _update(self) -> bytes:
        self.seq += 1
        near = self.random.sample(range(20), 5)
        bids = [n for i in near for n in (1_000_000 - i, self.random.randrange(1, 10**9))]
        asks = [n for i in near for n in (1_000_001 + i, self.random.randrange(1, 10**9))]
        return pack_book(EPOCH, self.seq, self.seq, EPOCH + self.seq, bids, asks)

    def topics(self, views: str) -> list[Topic]:
        return [self.hub.topic(self.instrument, channel, depth) for channel, depth in VIEWS[views]]

    def subscribe(self, sink: Sink, views: str) -> None:
        for topic in self.topics(views):
            self.hub.subscribe(sink, topic)
            self.hub.catch_up(sink, topic)


def measure(benchmark: Any, market: Market, subscribers: int, drain: Callable[[], None]) -> None:
    def prepare() -> tuple[tuple[bytes], dict[str, Any]]:
        drain()
        return (market.batch(),), {}

    def work(batch: bytes) -> None:
        market.hub.take_book(market.instrument, batch)
        market.hub.flush(NOW)

    market.hub.take_book(
        market.instrument, market.batch()
    )  # the first batch has extra costs that are not measured
    market.hub.flush(NOW)
    before = market.hub.stats()
    benchmark.pedantic(work, setup=prepare, rounds=ROUNDS)
    after = market.hub.stats()
    batches = market.seq // UPDATES - 1
    assert after["slow_sinks"] == 0
    assert after["writes"] - before["writes"] == batches * subscribers, (
        "one write per touched subscriber and batch"
    )
    deliveries = (after["deliveries"] - before["deliveries"]) / batches
    if benchmark.stats is not None:
        median = benchmark.stats.stats.median
        benchmark.extra_info["deliveries"] = deliveries
        benchmark.extra_info["ns"] = round(median * 1e9 / deliveries, 1)
        benchmark.extra_info["us_per_write"] = round(median * 1e6 / subscribers, 3)


@pytest.mark.parametrize("subscribers", [1, 100, 1000, 10_000])
@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("format", FORMATS)
def test_memory(benchmark: Any, format: str, views: str, subscribers: int) -> None:
    market = Market()
    sinks = [MemorySink(FORMATS[format], keep=False) for _ in range(subscribers)]
    for sink in sinks:
        market.subscribe(sink, views)
    measure(benchmark, market, subscribers, lambda: None)


class Sockets:
    """Sessions of a gateway, and the clients' sockets, which the benchmark reads empty."""

    def __init__(self, market: Market, runner: asyncio.Runner) -> None:
        self.market = market
        self.runner = runner
        self.clients: list[socket.socket] = []

    def open(self, count: int, views: str, format: int) -> None:
        self.runner.run(self._open(count, views, format))

    async def _open(self, count: int, views: str, format: int) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Queue[Session] = asyncio.Queue()
        upgrades = Upgrades(compression=False)

        def answer(session: Session, head: bytes) -> None:
            session.accept(upgrades.answer(head, None)[1], format)

        group = SessionGroup(
            self.market.hub,
            on_request=answer,
            on_open=opened.put_nowait,
            on_message=lambda session, payload: None,
            on_close=lambda session, code: None,
        )
        self.listener = ClientListener(
            group, turn_away=lambda status: b"", limits=Limits(GatewayConfig(), time.monotonic)
        )
        await self.listener.open("127.0.0.1", 0)
        address = ("127.0.0.1", self.listener.port)
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, UPGRADE)
            assert (await loop.sock_recv(client, 4096)).startswith(b"HTTP/1.1 101")
            self.clients.append(client)
            self.market.subscribe((await opened.get()).sink, views)
        self.listener.close()

    def drain(self) -> None:
        for client in self.clients:
            with suppress(BlockingIOError):
                while client.recv(1 << 18):
                    pass

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.runner.run(self._closed())

    async def _closed(self) -> None:
        async with asyncio.timeout(10):
            while self.market.hub.stats()["sinks"]:
                await asyncio.sleep(0.01)
        await self.listener.end()


@pytest.fixture(params=["send", "io_uring"])
def sockets(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    sender = UringSender() if request.param == "io_uring" else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sockets = Sockets(Market(sender), runner)
        yield sockets
        sockets.close()


@pytest.mark.parametrize("subscribers", [1, 100, 1000])
@pytest.mark.parametrize("views", VIEWS)
def test_sockets(benchmark: Any, sockets: Sockets, views: str, subscribers: int) -> None:
    sockets.open(subscribers, views, FORMATS["msgpack"])
    measure(benchmark, sockets.market, subscribers, sockets.drain)


def tcp_pair(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    writing = socket.create_connection(listener.getsockname())
    writing.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reading, _ = listener.accept()
    reading.setblocking(False)
    return writing, reading


@pytest.mark.parametrize("subscribers", [1, 100, 1000])
def test_plain_sends(benchmark: Any, subscribers: int) -> None:
    """The floor: one ``send`` of about the same size to the same number of TCP sockets."""
    message = bytes(300)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pairs = [tcp_pair(listener) for _ in range(subscribers)]

    def prepare() -> None:
        for _, reading in pairs:
            with suppress(BlockingIOError):
                reading.recv(1 << 18)

    def work() -> None:
        for writing, _ in pairs:
            writing.send(message)

    benchmark.pedantic(work, setup=prepare, rounds=ROUNDS)
    if benchmark.stats is not None:
        benchmark.extra_info["us_per_write"] = round(benchmark.stats.stats.median * 1e6 / subscribers, 3)
    for pair in pairs:
        for end in pair:
            end.close()
