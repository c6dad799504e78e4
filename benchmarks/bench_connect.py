"""A gateway process and its new clients: ``python -m pytest benchmarks/bench_connect.py --benchmark-only``.

The clients are the compiled ones of the load test. The gateway has the first core for itself; everything else runs on the others.
A connection is TCP, upgrade, ``welcome``, one ``subscribe`` at depth 20, ``subscribed`` and the snapshot, checked. The extra columns:
connections per second (``per_s``), the gateway's CPU for each (``cpu_us``), that of the load test's C server in a storm just before
(``floor_us``), how many times that is (``times``, the median of the rounds), the resident memory for each (``kB``), and the share of a
core that the clients used (``client``: near 1, the clients are the limit). The C server sends no books, only their heads.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from attack.arena import environment
from mdstream._bench.books import Books
from mdstream._bench.plan import Group, Plan
from mdstream._bench.publisher import Publisher
from mdstream._bench.subscribers import Subscribers
from mdstream.bus import connect
from mdstream.bus.embedded import USER, EmbeddedNats

CONNECTIONS = 5_000
SYMBOLS = 200
MOVING = 100
"""Symbols with updates; the others are only announced."""
NAMES = [f"BENCH:SYM{i}" for i in range(SYMBOLS)]
DEADLINE_S = 60.0
SUBSCRIBES = r'mdstream_commands_total\{op="subscribe"\}'
FORMATS = pytest.mark.parametrize("format", ["msgpack", "json"])
SERVE = ["--port", "0", "--admin-port", "0", "--max-connections", "20000", "--commands-per-second", "1000000"]


class Gateway:
    """``mdstream serve`` on a core of its own."""

    def __init__(self, nats_url: str) -> None:
        command = [sys.executable, "-m", "mdstream.cli", "serve", "--nats", nats_url, *SERVE]
        self.process = subprocess.Popen(
            [*command, "--commands-burst", "1000000"], stderr=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stderr is not None
        self.port = self.admin_port = 0
        for line in self.process.stderr:
            if found := re.search(r"clients at ws://[\d.]+:(\d+).* at http://[\d.]+:(\d+)", line):
                self.port, self.admin_port = int(found[1]), int(found[2])
            if "connected to NATS" in line:
                break
        self._draining = threading.Thread(target=self.process.stderr.read)
        self._draining.start()
        os.sched_setaffinity(self.process.pid, {min(os.sched_getaffinity(0))})

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    @property
    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    def metric(self, pattern: str) -> list[float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics") as page:
            return [
                float(value)
                for value in re.findall(rf"^{pattern} (\S+)$", page.read().decode(), re.MULTILINE)
            ]

    def histogram(self, name: str) -> list[tuple[float, float]]:
        """(upper bound in ms, cumulative count)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics") as page:
            found = re.findall(rf'{re.escape(name)}"(.*)"\}} (\S+)', page.read().decode())
        return [(float(bound) * 1e3, float(count)) for bound, count in found]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._draining.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


def cpu_s(pid: int) -> float:
    """By the kernel's clock of the process, which counts nanoseconds."""
    return time.clock_gettime((~pid << 3) | 2)


@pytest.fixture
def nats() -> Iterator[EmbeddedNats]:
    cores = os.sched_getaffinity(0)
    server = asyncio.run(EmbeddedNats.start())
    yield server
    asyncio.run(server.stop())
    os.sched_setaffinity(0, cores)


async def announce(url: str, books: Books) -> None:
    async with await connect(url) as bus:
        await bus.ensure_streams()
        for subject, payload in books.announcements(books.epoch):
            await bus.publish_acked(subject, payload)


@pytest.fixture
def publisher(nats: EmbeddedNats) -> Iterator[Publisher]:
    subjects = [f"md.BENCH.SYM{i}" for i in range(SYMBOLS)]
    moving, still = (
        Books(some, epoch=time.time_ns() // 1000) for some in (subjects[:MOVING], subjects[MOVING:])
    )
    asyncio.run(announce(nats.url, moving))
    asyncio.run(announce(nats.url, still))
    made = Publisher(moving, "127.0.0.1", nats.port, user=USER, password=nats.password)
    yield made
    made.close()


@pytest.fixture
def gateway(nats: EmbeddedNats, publisher: Publisher) -> Iterator[Gateway]:
    made = Gateway(nats.url)
    if len(cores := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})
    with warmed(made):
        yield made
    made.stop()


@contextmanager
def warmed(gateway: Gateway) -> Iterator[None]:
    """One client has all books, and answers the gateway however long this takes: a silent one would be closed, and the books with it."""
    some = clients(gateway, Group(connections=1, instruments=SYMBOLS, depth=20))
    ready(some)
    ended = threading.Event()

    def answer() -> None:
        while not ended.wait(1.0):
            some.run(0.01)

    answering = threading.Thread(target=answer)
    answering.start()
    yield
    ended.set()
    answering.join()
    some.close()


class Floor:
    """The load test's C server, on the same core."""

    def __init__(self, nats: EmbeddedNats) -> None:
        command = [sys.executable, "-m", "attack.relay", nats.url, "BENCH", str(SYMBOLS)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | environment()
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        os.sched_setaffinity(self.process.pid, {min(os.sched_getaffinity(os.getppid()))})

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)


@pytest.fixture
def floor(nats: EmbeddedNats, gateway: Gateway) -> Iterator[Floor]:
    made = Floor(nats)
    yield made
    made.process.kill()
    made.process.communicate()


def clients(
    server: Gateway | Floor, group: Group, format: str = "msgpack", names: Sequence[str] = NAMES
) -> Subscribers:
    return Subscribers(
        Plan(
            gateways=[("127.0.0.1", server.port)],
            instruments=names,
            groups=[group],
            format=format,
            floor=isinstance(server, Floor),
        )
    )


def ready(some: Subscribers) -> None:
    some.open()
    assert some.run(DEADLINE_S, until="ready"), some.first_fault
    assert some.faults == 0, some.first_fault


@FORMATS
def test_storm(benchmark: Any, gateway: Gateway, floor: Floor, format: str) -> None:
    some = clients(gateway, Group(connections=CONNECTIONS, depth=20), format)
    of_floor = clients(floor, Group(connections=CONNECTIONS, depth=20), format)
    rss, figures = gateway.rss_bytes, {}
    floor_us: list[float] = []
    gateway_us: list[float] = []

    def storm_of_floor() -> None:
        before_s = floor.cpu_s
        ready(of_floor)
        floor_us.append((floor.cpu_s - before_s) / CONNECTIONS * 1e6)
        of_floor.close()

    def close() -> None:
        some.close()
        while gateway.metric("mdstream_connections") != [1.0]:
            time.sleep(0.05)

    def storm() -> None:
        before_s, mine_s, began_s = gateway.cpu_s, some.cpu_s, time.monotonic()
        ready(some)
        gateway_us.append((gateway.cpu_s - before_s) / CONNECTIONS * 1e6)
        figures["client"] = round((some.cpu_s - mine_s) / (time.monotonic() - began_s), 2)
        figures.setdefault("kB", round((gateway.rss_bytes - rss) / 1024 / CONNECTIONS, 2))

    benchmark.pedantic(storm, setup=storm_of_floor, teardown=close, rounds=5)
    times = [us / least for us, least in zip(gateway_us, floor_us, strict=True)]
    for name, found in (("cpu_us", gateway_us), ("floor_us", floor_us), ("times", times)):
        figures[name] = round(statistics.median(found), 2)
    benchmark.extra_info.update(figures)
    if benchmark.stats is not None:
        benchmark.extra_info["per_s"] = round(CONNECTIONS / benchmark.stats.stats.min)


def reached(histogram: list[tuple[float, float]], share: float) -> float:
    """The first bound that at least this share of all does not exceed."""
    return next((ms for ms, count in histogram if count >= share * histogram[-1][1]), math.inf)


@contextmanager
def market(publisher: Publisher, seconds: float) -> Iterator[None]:
    thread = threading.Thread(target=publisher.run, args=(seconds,), kwargs={"rate": 1_000.0})
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("storm", [False, True], ids=["quiet", "storm"])
def test_market_data_during_a_storm(
    benchmark: Any, gateway: Gateway, publisher: Publisher, storm: bool
) -> None:
    """The effect on connected clients: latency of 50 clients on 20 of 100 symbols at 1,000 updates/s in all."""
    steady = clients(gateway, Group(connections=50, instruments=20), names=NAMES[:MOVING])
    ready(steady)
    others = clients(gateway, Group(connections=CONNECTIONS, depth=20), names=NAMES[MOVING:])
    others.open(per_second=2_500.0)

    def come() -> None:
        """Gives the storm's clients the lowest priority, so that NATS, the publisher and the steady clients do not wait for them."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        others.run(DEADLINE_S, until="ready")

    def watch() -> None:
        coming = threading.Thread(target=come)
        with market(publisher, 4.0):
            steady.run(0.5)
            steady.mark()
            if storm:
                coming.start()
            steady.run(2.5)
        if storm:
            coming.join()

    before = gateway.histogram("mdstream_latency_seconds_bucket{le=")
    benchmark.pedantic(watch, rounds=1)
    seen = steady.latency
    for name, quantile in (("p50_us", 50.0), ("p99_us", 99.0), ("p999_us", 99.9)):
        benchmark.extra_info[name] = round(seen.percentile(quantile))
    written = gateway.histogram("mdstream_latency_seconds_bucket{le=")
    counts = [(ms, after - count) for (ms, after), (_, count) in zip(written, before, strict=True)]
    benchmark.extra_info["written_p99_below_ms"] = reached(counts, 0.99)
    for generation in range(2):
        name = f'mdstream_gc_pause_seconds_bucket{{generation="{generation}",le='
        benchmark.extra_info[f"gc{generation}_below_ms"] = reached(gateway.histogram(name), 1)
    assert steady.faults == 0, steady.first_fault
    others.close()
    steady.close()


def frame(payload: bytes) -> bytes:
    """Masked with zeros."""
    assert 126 <= len(payload) < 65536
    return b"\x82\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


def upgraded(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(
        b"GET /v1/stream HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: mdstream.v1.msgpack\r\n\r\n"
    )
    read_until(made, b"commands_burst")
    return made


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        more = connection.recv(1 << 18)
        assert more, "the gateway hung up"
        data = data[-len(wanted) :] + more if len(data) > 1 << 20 else data + more
    return data


def test_churn(benchmark: Any, gateway: Gateway) -> None:
    """Subscribes and unsubscribes: one command each, ten of each in a message, 20 clients."""
    batch, rounds, members = 10, 25, 20
    connections = [upgraded(gateway.port) for _ in range(members)]
    subs = {}
    for i in range(batch):
        command = {
            "op": "subscribe",
            "id": "x" * 100,
            "channel": "book",
            "depth": 20,
            "instruments": [NAMES[i]],
        }
        connections[0].sendall(frame(msgpack.packb(command)))
        answer = read_until(connections[0], NAMES[i].encode())
        subs[i] = re.search(rb"\xa3sub(.)", answer.partition(b"subscribed")[2], re.DOTALL)[1][0]  # type: ignore[index]
    commands = [
        {"op": "subscribe", "channel": "book", "depth": 20, "instruments": [NAMES[i]]} for i in range(batch)
    ]
    commands += [{"op": "unsubscribe", "subs": [subs[i]]} for i in range(batch)]
    message = frame(b"".join(msgpack.packb(command) for command in commands))
    ping = frame(msgpack.packb({"op": "ping", "data": "y" * 120}))
    before = gateway.metric(SUBSCRIBES)[0]
    cpu_s = gateway.cpu_s

    def churn() -> None:
        for _ in range(rounds):
            for connection in connections[1:]:
                connection.sendall(message + ping)
            for connection in connections[1:]:
                read_until(connection, b"y" * 120)

    benchmark.pedantic(churn, rounds=10, warmup_rounds=1)
    each = batch * rounds * (members - 1)
    done = gateway.metric(SUBSCRIBES)[0] - before
    assert done and done % each == 0 and gateway.metric("mdstream_errors_total.*") == []
    benchmark.extra_info["cpu_us"] = round((gateway.cpu_s - cpu_s) / done * 1e6, 1)
    if benchmark.stats is not None:
        benchmark.extra_info["per_s"] = round(each / benchmark.stats.stats.median)
    for connection in connections:
        connection.close()


def test_memory_of_subscriptions(benchmark: Any, gateway: Gateway) -> None:
    """The bytes that 100,000 subscriptions of 500 clients need, compared with clients without subscriptions."""
    idle = clients(gateway, Group(connections=500, instruments=0))
    ready(idle)
    before = gateway.rss_bytes
    busy = clients(gateway, Group(connections=500, instruments=SYMBOLS, depth=20))
    benchmark.pedantic(ready, args=(busy,), rounds=1)
    each = (gateway.rss_bytes - before) / (500 * SYMBOLS)
    benchmark.extra_info["bytes_with_connection"] = round(each)
    idle.close()
    busy.close()
