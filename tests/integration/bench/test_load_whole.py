"""The compiled load test against the real thing: publisher, nats-server, a gateway or the floor as processes, exact to the last number."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mdstream._bench.floor import Floor
from mdstream._bench.plan import Group, Plan
from mdstream._bench.publisher import Books, Publisher
from mdstream._bench.subscribers import Subscribers
from mdstream.bus import connect
from mdstream.bus.embedded import USER, EmbeddedNats
from mdstream.errors import BenchError
from support.program import Program

SYMBOLS = 10
NAMES = [f"BENCH:SYM{i}" for i in range(SYMBOLS)]
SUBJECTS = [f"md.BENCH.SYM{i}" for i in range(SYMBOLS)]
FREE = ("--host", "127.0.0.1", "--port", "0", "--admin-port", "0")
DEADLINE_S = 30.0
FORMATS = pytest.mark.parametrize("format", ["json", "msgpack"])


class Feed:
    """Books that are announced in a nats-server, and their publisher."""

    def __init__(self, server: EmbeddedNats) -> None:
        self.nats_port = int(server.url.rpartition(":")[2])
        self.books = Books(SUBJECTS, epoch=time.time_ns() // 1000)
        asyncio.run(self._announce(server.url))
        self.login = {"user": USER, "password": server.password}
        self.publisher = Publisher(self.books, "127.0.0.1", self.nats_port, **self.login)

    async def _announce(self, url: str) -> None:
        async with await connect(url) as bus:
            await bus.ensure_streams()
            for subject, payload in self.books.announcements(time.time_ns() // 1000):
                await bus.publish_acked(subject, payload)

    @contextmanager
    def running(self, updates: int, rate: float, **options: Any) -> Iterator[None]:
        """Publishes while the block runs; all is published, the last of each symbol with it, when the block has ended."""
        thread = threading.Thread(target=self._run, args=(updates / rate, rate), kwargs=options)
        thread.start()
        yield
        thread.join(DEADLINE_S)
        assert sum(self.books.seqs()) == updates + 2 * SYMBOLS

    def _run(self, seconds: float, rate: float, **options: Any) -> None:
        self.publisher.run(seconds, rate=rate, **options)
        self.publisher.finish()

    @property
    def seqs(self) -> dict[str, int]:
        return dict(zip(NAMES, self.books.seqs(), strict=True))


@pytest.fixture
def feed(nats_server: EmbeddedNats) -> Iterator[Feed]:
    made = Feed(nats_server)
    yield made
    made.publisher.close()


@pytest.fixture
def gateway(nats_server: EmbeddedNats, tmp_path: Path) -> Iterator[Callable[..., int]]:
    started: list[Program] = []

    def start(*arguments: str) -> int:
        program = Program(
            "mdstream.cli", "serve", "--nats", nats_server.url, *FREE, *arguments, temporary=tmp_path
        )
        started.append(program)
        program.until_error("connected to NATS")
        return int(program.until_error(r"serving clients at ws://127\.0\.0\.1:(\d+)")[1])

    yield start
    for program in started:
        with program:
            program.process.terminate()
            program.end()


@pytest.fixture
def floor(feed: Feed) -> Iterator[int]:
    """A floor in a process of its own; its port."""
    source = (
        "from mdstream._bench.floor import Floor\n"
        f"floor = Floor({NAMES!r}, {SUBJECTS!r}, '127.0.0.1', {feed.nats_port}, **{feed.login!r})\n"
        "print(floor.port, flush=True)\n"
        f"floor.run({2 * DEADLINE_S}, wake_fd=0)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", source], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        yield int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0


def subscribers(port: int | list[int], *groups: Group, **options: Any) -> Subscribers:
    ports = port if isinstance(port, list) else [port]
    gateways = [("127.0.0.1", each) for each in ports]
    return Subscribers(Plan(gateways=gateways, instruments=NAMES, groups=groups, **options))


def reaches(clients: Subscribers, feed: Feed) -> bool:
    clients.expect(feed.seqs)
    return clients.run(DEADLINE_S, until="expected")


@FORMATS
def test_fifty_clients_get_every_update_once_and_their_books_are_the_publishers(
    format: str, feed: Feed, gateway: Callable[..., int]
) -> None:
    clients = subscribers(
        gateway(),
        Group(connections=20, instruments=3, verify=5),
        Group(connections=20, instruments=2, verify=5, depth=20, choice="zipf"),
        Group(connections=10, instruments=4, verify=2, interval_ms=100),
        format=format,
    )
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    assert clients.totals()["subscribed"] == 20 * 3 + 20 * 2 + 10 * 4
    clients.mark()
    with feed.running(2000, 1000.0):
        clients.run(2.0)
    assert reaches(clients, feed)
    assert (clients.first_fault, clients.faults, clients.behind()) == ("", 0, 0)
    assert {name: place[:2] for name, place in clients.positions().items()} == {
        name: (seq, seq) for name, seq in feed.seqs.items()
    }
    for name, depth, _group, epoch, seq, bids, asks in clients.books():
        symbol = NAMES.index(name)
        assert (epoch, seq) == (feed.books.epoch, feed.seqs[name])
        assert (bids, asks) == feed.books.view(symbol, depth)
    assert len(clients.books()) == 5 * 3 + 5 * 2 + 2 * 4
    counters = clients.counters()
    asked = sum(clients.positions()[name][2] * (seq - 1) for name, seq in feed.seqs.items())
    assert counters["updates"] + counters["skipped"] == asked
    assert counters["checked"] > 0 and clients.latency.count == counters["deltas"]
    clients.close()


def test_clients_open_at_a_rate_and_all_become_ready(feed: Feed, gateway: Callable[..., int]) -> None:
    clients = subscribers(gateway(), Group(connections=50, depth=20), in_flight=8)
    clients.open(per_second=500)
    assert clients.run(DEADLINE_S, until="ready")
    assert clients.ready.count == clients.ready_clients == clients.open_clients == 50
    clients.close()
    assert clients.open_clients == 0
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    clients.close()
    assert clients.totals()["opened"] == 100


@FORMATS
def test_cut_off_they_resume_on_the_other_gateway_while_the_market_goes_on(
    format: str, feed: Feed, gateway: Callable[..., int]
) -> None:
    clients = subscribers(
        [gateway(), gateway()],
        Group(connections=20, instruments=4, verify=20),
        Group(connections=5, instruments=4, resume=False),
        format=format,
    )
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    with feed.running(1500, 1000.0):
        clients.run(0.5)
        assert clients.cut(0.5) == 25
        assert clients.run(DEADLINE_S, until="ready")
    assert reaches(clients, feed)
    totals = clients.totals()
    assert (clients.first_fault, totals["cut"], clients.recovery.count) == ("", 25, 25)
    assert (totals["resumed"], totals["not_resumed"]) == (80, 0)
    for name, depth, _group, _epoch, _seq, bids, asks in clients.books():
        assert (bids, asks) == feed.books.view(NAMES.index(name), depth)
    clients.close()


def test_a_slow_reader_rests_and_is_caught_up(feed: Feed, gateway: Callable[..., int]) -> None:
    clients = subscribers(
        gateway(),
        Group(connections=5, instruments=SYMBOLS),
        Group(connections=5, instruments=SYMBOLS, verify=5, pause_s=0.5, read_s=0.1),
    )
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    with feed.running(6000, 4000.0, changes=20):
        clients.run(1.5)
    assert reaches(clients, feed)
    assert clients.first_fault == "" and clients.totals()["paused"] >= 5
    assert clients.latency_of(1).max > 100_000  # it waited; the sum leaves it out
    assert clients.latency.count == clients.latency_of(0).count
    for name, depth, _group, _epoch, _seq, bids, asks in clients.books():
        assert (bids, asks) == feed.books.view(NAMES.index(name), depth)
    clients.close()


@FORMATS
def test_the_floor_relays_every_update(format: str, feed: Feed, floor: int) -> None:
    clients = subscribers(floor, Group(connections=20, instruments=3, verify=3), format=format, floor=True)
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    with feed.running(2000, 2000.0, burst=100, per_message=2):
        clients.run(1.0)
    assert reaches(clients, feed)
    asked = sum(clients.positions()[name][2] * (seq - 1) for name, seq in feed.seqs.items())
    assert (clients.first_fault, clients.counters()["updates"]) == ("", asked)
    clients.close()


def test_the_floor_says_what_it_did_and_ends_when_told(feed: Feed) -> None:
    reading, writing = socket.socketpair()
    made = Floor(NAMES, SUBJECTS, "127.0.0.1", feed.nats_port, **feed.login)
    thread = threading.Thread(target=made.run, args=(DEADLINE_S,), kwargs={"wake_fd": reading.fileno()})
    thread.start()
    clients = subscribers(made.port, Group(connections=4), floor=True)
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    with feed.running(200, 1000.0):
        clients.run(0.2)
    assert reaches(clients, feed)
    writing.send(b"x")
    thread.join(DEADLINE_S)
    counters = made.counters()
    assert (counters["clients"], counters["accepted"], counters["dropped"]) == (4, 4, 0)
    assert counters["updates"] == 200 + SYMBOLS
    assert counters["deliveries"] == clients.counters()["updates"]
    clients.close()
    made.close()
    made.close()
    reading.close()
    writing.close()


def test_a_floor_that_cannot_be_is_told(feed: Feed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BenchError, match=f"127.0.0.1:{port}: Address already in use"):
            Floor(NAMES, SUBJECTS, "127.0.0.1", feed.nats_port, port=port, **feed.login)
    with pytest.raises(BenchError, match=f"nats-server 127.0.0.1:{port}: Connection refused"):
        Floor(NAMES, SUBJECTS, "127.0.0.1", port)


def test_what_it_waits_for_may_never_come_and_another_process_may_stop_it(feed: Feed, floor: int) -> None:
    clients = subscribers(floor, Group(connections=1), floor=True)
    clients.open()
    assert clients.run(DEADLINE_S, until="ready")
    clients.expect(dict.fromkeys(NAMES, 10))
    assert (clients.run(0.0, until="expected"), clients.behind()) == (False, 1)
    reading, writing = socket.socketpair()
    writing.send(b"x")
    assert clients.run(DEADLINE_S, wake_fd=reading.fileno()) is False
    clients.close()
    reading.close()
    writing.close()


def test_more_files_than_a_process_may_have_is_told(feed: Feed) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard > 200_000:
        pytest.skip(f"this process may have {hard} open files: too many clients to plan")
    with pytest.raises(BenchError, match=f"this process may have {hard}: raise the limit .ulimit -n"):
        subscribers(1, Group(connections=hard))
