"""What honest clients feel while somebody floods: ``python -m pytest benchmarks/bench_flood.py --benchmark-only``.

The server has the first core for itself. NATS, the publisher and the honest clients (127.0.0.1) share the others with the flooder
(127.0.0.2), which has the lowest priority. The gateway limits that address as any other: loopback is not exempt here.

Where others use the machine too, ``FLOOD_FIRST=1`` (as root) gives server, NATS, publisher and honest clients a real-time priority, and the
flooder what they leave, before the others.

Each flood is run against the C server of the load test and against the gateway. The columns: latency of the honest clients
(``p50_us``, ``p99_us``, ``max_us``), and what the flooder got rid of a second (``rounds``, ``MB``). The gateway must stay within 1.5 times
the C server's ``p99_us``; ``times`` is that figure, the median of the rounds so far: ``FLOOD_ROUNDS=5`` makes five.

``FLOOD_PEER`` is the command of another server in the place of ours in C; ``{port}`` and ``{nats}`` in it are ports, and it must speak the
contract in MessagePack.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from attack.arena import GatewayUnderAttack, before_others, environment
from attack.flood import KINDS
from mdstream._bench.books import Books
from mdstream._bench.plan import Group, Plan
from mdstream._bench.publisher import Publisher
from mdstream._bench.subscribers import Subscribers
from mdstream.bus import connect
from mdstream.bus.embedded import USER, EmbeddedNats
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.settings import settings_of

VENUE, SYMBOLS = "FLOOD", 100
NAMES = [f"{VENUE}:SYM{i}" for i in range(SYMBOLS)]
RATE = 1_000.0
HONEST = Group(connections=50, instruments=10)
SECONDS = 4.0
MARGIN_S = 2.0
"""For the honest clients to become ready."""
ROUNDS = int(os.environ.get("FLOOD_ROUNDS", "1"))
FIRST = os.environ.get("FLOOD_FIRST") == "1"
FLOODER_NICE = "-15"
DEADLINE_S = 60.0
FLOODER = "127.0.0.2"
SETTLE_S = 1.0
p99: dict[tuple[str, str], list[float]] = defaultdict(list)
"""Of each server and flood, in each round."""


@pytest.fixture
def nats() -> Iterator[EmbeddedNats]:
    cores = os.sched_getaffinity(0)
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})
    if FIRST:
        before_others(os.getpid())  # and what it starts
    server = asyncio.run(EmbeddedNats.start())
    yield server
    asyncio.run(server.stop())
    os.sched_setaffinity(0, cores)


@pytest.fixture
def publisher(nats: EmbeddedNats) -> Iterator[Publisher]:
    books = Books([f"md.{VENUE}.SYM{i}" for i in range(SYMBOLS)], epoch=time.time_ns() // 1000)
    asyncio.run(announce(nats.url, books))
    made = Publisher(books, "127.0.0.1", nats.port, user=USER, password=nats.password)
    yield made
    made.close()


async def announce(url: str, books: Books) -> None:
    async with await connect(url) as bus:
        await bus.ensure_streams()
        for subject, payload in books.announcements(books.epoch):
            await bus.publish_acked(subject, payload)


@contextmanager
def serving(kind: str, nats: EmbeddedNats, temporary: Path) -> Iterator[int]:
    """The port of a server on the first core."""
    if kind == "gateway":
        strict = ["--limits-exempt", "none"] if "limits_exempt" in settings_of(GatewayConfig) else []
        gateway = GatewayUnderAttack(nats.url, temporary, *strict)
        on_first_core(gateway.program.process)
        yield gateway.port
        gateway.stop()
        return
    with peer(nats) as (process, port):
        on_first_core(process)
        yield port


def on_first_core(process: subprocess.Popen[str]) -> None:
    if FIRST:
        before_others(process.pid)
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(os.getppid()))})


@contextmanager
def peer(nats: EmbeddedNats) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The load test's server in C, or that of ``FLOOD_PEER``."""
    other = os.environ.get("FLOOD_PEER")
    port = free_port()
    command = (
        shlex.split(other.format(port=port, nats=nats.port))
        if other
        else [sys.executable, "-m", "attack.relay", nats.url, VENUE, str(SYMBOLS)]
    )
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment())
    assert process.stdout is not None
    try:
        yield process, port if other else int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def flooding(kind: str, port: int) -> Iterator[list[str]]:
    """Gives the flooder's reports, once it has ended."""
    said: list[str] = []
    if kind == "none":
        yield said
        return
    niceness = {"FLOOD_NICE": FLOODER_NICE} if FIRST else {}
    process = subprocess.Popen(
        [sys.executable, "-m", "attack.flood", kind, str(port), FLOODER],
        stdout=subprocess.PIPE, text=True, env=os.environ | environment() | niceness,
    )  # fmt: skip
    if FIRST:
        os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield said
    finally:
        process.kill()
        said += (process.communicate()[0] or "").splitlines()


@pytest.mark.parametrize("server", ["floor", "gateway"])
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("flood", ["none", *KINDS])
def test_honest_clients_under_a_flood(
    benchmark: Any,
    nats: EmbeddedNats,
    publisher: Publisher,
    tmp_path: Path,
    flood: str,
    number: int,
    server: str,
) -> None:
    with serving(server, nats, tmp_path) as port:
        honest = Subscribers(
            Plan(gateways=[("127.0.0.1", port)], instruments=NAMES, groups=[HONEST], floor=server == "floor")
        )
        publishing = threading.Thread(
            target=publisher.run, args=(SETTLE_S + SECONDS + MARGIN_S,), kwargs={"rate": RATE}, daemon=True
        )
        publishing.start()
        honest.open()
        assert honest.run(DEADLINE_S, until="ready"), honest.first_fault
        with flooding(flood, port) as said:
            honest.run(SETTLE_S)
            honest.mark()
            benchmark.pedantic(honest.run, args=(SECONDS,), rounds=1)
        note(benchmark.extra_info, honest, said)
        p99[server, flood].append(benchmark.extra_info["p99_us"])
        pairs = zip(p99["gateway", flood], p99["floor", flood], strict=False)
        if times := [gateway / floor for gateway, floor in pairs]:
            benchmark.extra_info["times"] = round(statistics.median(times), 2)
        assert honest.faults == 0, honest.first_fault
        honest.close()
        publishing.join()


def note(info: dict[str, Any], honest: Subscribers, said: list[str]) -> None:
    for name, quantile in (("p50_us", 50.0), ("p99_us", 99.0), ("max_us", 100.0)):
        info[name] = round(honest.latency.percentile(quantile))
    for at, name, unit in ((0, "rounds", 1.0), (1, "MB", 1e6)):
        figures = [float(line.split()[at]) for line in said]
        info[name] = round(sum(figures) / len(figures) / unit, 1) if figures else 0
