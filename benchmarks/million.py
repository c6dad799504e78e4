"""A million connections on one machine: ``make million``, or ``python benchmarks/million.py --connections 100000``.

Started here: NATS, a publisher, one gateway with as many workers as the limit of open files asks for, and as many processes of clients
(those of the load test, compiled). Clients only connect, and answer the gateway's heartbeats; ``--receiving`` of them follow a book each.
They come a few processes at a time, until all are there or something stops them: then it says what, and measures what is there.

Measured are the time to connect and to drain, the memory of a connection in the gateway and in the kernel, and its CPU while it is idle.
Everything a connection needs is on this machine twice, as both its ends are here.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from kernel import Ceiling, Kernel, ceilings, files_of_a_process, kernel, pss_bytes, settings, system_s

from mdstream._bench.plan import Group, Plan
from mdstream.bench import usage
from mdstream.bench.load import merged
from mdstream.bench.machine import this_machine, versions
from mdstream.bench.parts import Gateway, Part
from mdstream.bench.setup import address
from mdstream.bench.targets import BenchVenue
from mdstream.bus import EmbeddedNats
from mdstream.children import Log
from mdstream.errors import MdstreamError

SPARE_FILES: Final = 64
"""Of a process, besides its connections; the gateway keeps as many."""
SPREAD: Final = 6
"""The kernel gives connections to workers by chance: each has room for so many standard deviations more than its share."""
OF_AN_ADDRESS: Final = 1_000
"""Connections from one loopback address. There are 28,000 ports, but the kernel looks for a free one in turn: where two in three are
taken, that costs more than everything else of a connection."""
SYMBOLS: Final = 10
LEVELS: Final = 40
DEPTH: Final = 20
START_S: Final = 120.0
OPEN_S: Final = 120.0
ARRIVE_S: Final = 30.0
DRAIN_S: Final = 300.0
KEPT_FREE: Final = 0.06
"""The share of the machine's memory at which no more clients are started."""
LINES: Final = {
    "connecting": "{connect[seconds]} s, {connect[per_second]:,}/s, {connect[cpu_us_each]} µs of the gateway's CPU each",
    "memory each": "gateway {memory[gateway_rss_bytes_each]:,} bytes (PSS {memory[gateway_pss_bytes_each]:,}), both ends in the kernel "
    "{memory[kernel_bytes_each][slab_bytes]:,}, machine {memory[machine_bytes_each]:,} with the clients",
    "idle": "{idle[cpu_us_per_s_each]} µs/s each ({idle[without_empty_us_per_s_each]} above an empty gateway), "
    "{idle[us_per_heartbeat]} µs a heartbeat, {idle[heartbeats_per_second]:,} a second, {idle[pings_per_second]:,} with a ping",
    "receiving": "{receiving[deliveries_per_second]:,}/s, p50 {receiving[p50_ms]} ms, p99 {receiving[p99_ms]} ms; "
    "{receiving[faults]} faults, {receiving[behind]} behind, {receiving[closed]} closed",
    "draining": "{drain[seconds]} s, {drain[told]:,} told, {drain[cut]:,} cut",
}
"""What is shown of the figures."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--receiving", type=int, default=10_000, help="of them, that follow a book")
    parser.add_argument("--workers", type=int, default=0, help="of the gateway; 0: as many as are needed")
    parser.add_argument("--processes", type=int, default=0, help="of clients; 0: as many as are needed")
    parser.add_argument(
        "--files", type=int, default=0, help="open files of a process; 0: as many as it may have"
    )
    parser.add_argument("--at-once", type=int, default=2, help="processes whose clients connect at a time")
    parser.add_argument("--in-flight", type=int, default=64, help="connections that each opens at a time")
    parser.add_argument("--heartbeat-ms", type=int, default=15_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--per-second", type=float, default=1.0, help="updates of each of the ten books")
    parser.add_argument(
        "--drain-ms", type=int, default=20_000, help="over which the gateway sends clients away"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    try:
        figures = uvloop.run(run(options))
    except MdstreamError as error:
        sys.exit(f"million: {error}")
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


# ---- how many processes


@dataclass(frozen=True, slots=True)
class Layout:
    """Which processes there are."""

    workers: int
    worker_connections: int
    """Room in each worker."""
    loads: Sequence[int]
    """The connections of each process of clients."""
    receiving: Sequence[int]
    """How many of those follow a book."""


def layout(options: argparse.Namespace, files: int) -> Layout:
    room, wanted = files - SPARE_FILES, options.connections
    workers = options.workers or next(n for n in range(1, wanted + 1) if _most_of_one(wanted, n) + n <= room)
    processes = options.processes or max(-(-wanted // room), min(wanted, os.cpu_count() or 1))
    return Layout(
        workers,
        min(_most_of_one(wanted, workers), room - workers),  # a worker has the listening sockets of all
        _split(wanted, processes),
        _split(min(options.receiving, wanted), processes),
    )


def _most_of_one(connections: int, workers: int) -> int:
    """How many of the connections one of so many workers may get."""
    share = connections / workers
    return math.ceil(share + (SPREAD * math.sqrt(share) if workers > 1 else 0))


def _split(total: int, ways: int) -> list[int]:
    return [total // ways + (index < total % ways) for index in range(ways)]


# ---- what runs


class Test:
    """Everything that was started."""

    def __init__(
        self, options: argparse.Namespace, processes: Layout, log: Log, stack: AsyncExitStack
    ) -> None:
        self.options = options
        self.processes = processes
        self.log = log
        self.stack = stack
        self.venue = BenchVenue("", "MILLION", SYMBOLS)
        self.feed: Part
        self.gateway: Gateway
        self.loads: list[Part] = []
        self.connected = 0

    async def start(self, nats: EmbeddedNats) -> None:
        self.feed = await Part.start("publish", "the publisher", self.log, (), self.stack)
        await self.feed.order(
            "announce", nats=nats.url, subjects=self.venue.subjects, levels=LEVELS, throw_away=True
        )
        self.gateway = await Gateway.start(self._arguments(nats), (), self.stack, start_s=START_S)

    def _arguments(self, nats: EmbeddedNats) -> list[str]:
        workers, drain_ms = self.processes.workers, self.options.drain_ms
        named = {
            "nats": nats.file_url,
            "port": 0,
            "admin-port": 0,
            "workers": workers,
            "max-connections": workers * self.processes.worker_connections,
            "max-handshakes": 1_000_000,
            "accepts-per-second": 1_000_000,
            "warm": f"{self.venue.name}:*",
            "warm-ms": 60_000,
            "heartbeat-ms": self.options.heartbeat_ms,
            "drain-spread-ms": drain_ms,
            "drain-deadline-ms": 4 * drain_ms,
        }
        return [word for name, value in named.items() for word in (f"--{name}", str(value))]

    @property
    def pids(self) -> list[int]:
        """Of the gateway."""
        return usage.tree(self.gateway.pid)

    def cpu_s(self) -> float:
        return sum(usage.cpu_ns(pid) or 0 for pid in self.pids) / 1e9

    def kernel_s(self) -> float:
        """Of that, what was spent within system calls."""
        return system_s(self.pids)

    def load_cpu_s(self) -> float:
        return sum(usage.cpu_ns(load.pid) or 0 for load in self.loads) / 1e9

    async def add_load(self) -> Part:
        """One more process of clients, which have not connected yet."""
        number = len(self.loads)
        load = await Part.start("load", f"process {number} of clients", self.log, (), self.stack)
        self.loads.append(load)
        await load.order("plan", OPEN_S, plan=dataclasses.asdict(self._plan(number)))
        return load

    def _plan(self, number: int) -> Plan:
        count, following = self.processes.loads[number], self.processes.receiving[number]
        groups = [
            Group(connections=count - following, instruments=0),
            Group(connections=following, depth=DEPTH),
        ]
        return Plan(
            gateways=[address(self.gateway.url)],
            instruments=self.venue.instruments,
            groups=groups,
            in_flight=self.options.in_flight,
            of_an_address=OF_AN_ADDRESS,
            returns=False,
            offset=sum(self.processes.loads[:number]),
        )

    async def all_loads(self, do: str, deadline_s: float = 120.0, **details: Any) -> list[dict[str, Any]]:
        return await asyncio.gather(*(load.order(do, deadline_s, **details) for load in self.loads))


@asynccontextmanager
async def started(options: argparse.Namespace, processes: Layout) -> AsyncIterator[Test]:
    async with AsyncExitStack() as stack:
        log = stack.enter_context(Log())
        nats = await stack.enter_async_context(await EmbeddedNats.start())
        test = Test(options, processes, log, stack)
        await test.start(nats)
        yield test


# ---- the measurements


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Raises MdstreamError if nothing could be measured."""
    files = files_of_a_process(options.files)
    bounds = ceilings()
    processes = layout(options, files)
    figures: dict[str, Any] = {
        "asked": options.connections,
        "workers": processes.workers,
        "client_processes": len(processes.loads),
        "files_of_a_process": files,
        "heartbeat_ms": options.heartbeat_ms,
        "ceilings": [dataclasses.asdict(each) for each in bounds],
        "settings": settings(),
        "machine": msgspec.to_builtins(this_machine()),
        "versions": versions(),
    }
    tell(
        f"{options.connections:,} connections: {processes.workers} workers, {len(processes.loads)} client processes"
    )
    async with started(options, processes) as test:
        figures["empty"] = await measure_empty(test)
        before = kernel()
        figures |= await connect(test, bounds)
        if not test.connected:
            raise MdstreamError(f"no client could connect: {figures['stopped_by']}")
        await asyncio.sleep(1.0)
        figures["memory"] = measure_memory(test, figures["empty"], before)
        figures["idle"] = await measure_idle(test, figures["empty"])
        figures["receiving"] = await measure_receiving(test)
        figures["drain"] = await drain(test)
    return figures


async def measure_empty(test: Test) -> dict[str, Any]:
    """The gateway without clients."""
    began_s, cpu_s = time.monotonic(), test.cpu_s()
    await asyncio.sleep(min(test.options.seconds, 5.0))
    spent_s = time.monotonic() - began_s
    return {
        "processes": len(test.pids),
        "rss_bytes": usage.rss_bytes(test.pids),
        "pss_bytes": pss_bytes(test.pids),
        "cpu_us_per_s": (test.cpu_s() - cpu_s) / spent_s * 1e6,
    }


async def connect(test: Test, bounds: Sequence[Ceiling]) -> dict[str, Any]:
    """A few processes of clients after the other, until all are there or something stops them."""
    began_s, cpu_s, waited_s = time.monotonic(), test.cpu_s(), 0.0
    answers: list[dict[str, Any]] = []
    stopped = None
    while len(test.loads) < len(test.processes.loads) and stopped is None:
        preparing_s = time.monotonic()
        count = min(test.options.at_once, len(test.processes.loads) - len(test.loads))
        loads = [await test.add_load() for _ in range(count)]
        await keep_publisher(test)
        waited_s += time.monotonic() - preparing_s
        found = await asyncio.gather(
            *(load.order("open", OPEN_S + 10, per_second=0, within_s=OPEN_S) for load in loads),
            return_exceptions=True,
        )
        answers += [each for each in found if isinstance(each, dict)]
        test.connected = sum(answer["clients"] for answer in answers)
        seconds = time.monotonic() - began_s - waited_s
        stopped = why_stopped(found, bounds)
        free = kernel().available_bytes / 2**30
        tell(
            f"{test.connected:,} connected, {test.connected / seconds:,.0f}/s, {free:.1f} GiB of memory free"
        )
    times = merged([answer["connecting"] for answer in answers])
    return {
        "reached": test.connected,
        "stopped_by": stopped,
        "connect": {
            "seconds": round(seconds, 1),
            "per_second": round(test.connected / seconds),
            "cpu_us_each": round((test.cpu_s() - cpu_s) / max(test.connected, 1) * 1e6, 1),
            "p50_ms": times.percentile(50) / 1000 if times.count else None,
            "p99_ms": times.percentile(99) / 1000 if times.count else None,
        },
    }


async def keep_publisher(test: Test) -> None:
    """NATS drops a client that it has not heard for minutes."""
    await test.feed.order("run", seconds=0.05, rate=SYMBOLS / 0.05)


def why_stopped(found: Sequence[dict[str, Any] | BaseException], bounds: Sequence[Ceiling]) -> str | None:
    """Why no more clients are to be started, in words; None if there is no reason."""
    for each in found:
        if isinstance(each, BaseException):
            return str(each)
        if not each["ready"]:
            return f"clients could not connect within {OPEN_S:g} s: {each['totals']} {each['first_fault']}"
    free, memory = kernel().available_bytes, this_machine().memory_bytes
    if free < KEPT_FREE * memory:
        return f"memory: {free / 2**30:.1f} GiB are left of {memory / 2**30:.1f}, which both ends of every connection share"
    return None


def measure_memory(test: Test, empty: dict[str, Any], before: Kernel) -> dict[str, Any]:
    """What connections have added: to the gateway, to the kernel at both ends, to the processes of clients, to the machine."""
    count, now = test.connected, kernel()
    loads = [load.pid for load in test.loads]
    return {
        "gateway_rss_bytes_each": round((usage.rss_bytes(test.pids) - empty["rss_bytes"]) / count),
        "gateway_pss_bytes_each": round((pss_bytes(test.pids) - empty["pss_bytes"]) / count),
        "kernel_bytes_each": now.since(before, count),
        "kernel_sockets": now.sockets,
        "clients_pss_bytes_each": round(pss_bytes(loads) / count),
        "machine_bytes_each": round((before.available_bytes - now.available_bytes) / count),
        "machine_available_bytes": now.available_bytes,
    }


async def measure_idle(test: Test, empty: dict[str, Any]) -> dict[str, Any]:
    """CPU while nothing is published: heartbeats and their answers."""
    await test.all_loads("mark")
    begin, cpu_s, kernel_s, load_s = usage.sample(), test.cpu_s(), test.kernel_s(), test.load_cpu_s()
    await asyncio.sleep(test.options.seconds)
    spent_s, load_spent_s = test.cpu_s() - cpu_s, test.load_cpu_s() - load_s
    window = usage.Window(begin, usage.sample())
    counts = count(await test.all_loads("read"))
    each = spent_s / window.seconds / test.connected * 1e6
    ours = [os.getpid(), *test.pids, *(load.pid for load in test.loads)]
    return {
        "seconds": round(window.seconds, 2),
        "cpu_us_per_s_each": round(each, 3),
        "without_empty_us_per_s_each": round(each - empty["cpu_us_per_s"] / test.connected, 3),
        "in_system_calls": round((test.kernel_s() - kernel_s) / spent_s, 2),
        "gateway_cores": round(spent_s / window.seconds, 3),
        "client_cores": round(load_spent_s / window.seconds, 3),
        "other_cores": round(window.other_cpu_s(ours) / window.seconds, 3),
        "heartbeats_per_second": round(counts["heartbeats"] / window.seconds),
        "pings_per_second": round(counts["pings"] / window.seconds),
        "us_per_heartbeat": round(spent_s / counts["heartbeats"] * 1e6, 2) if counts["heartbeats"] else None,
    }


async def measure_receiving(test: Test) -> dict[str, Any]:
    """Latency of those that follow a book, among all others."""
    seconds = test.options.seconds
    await test.all_loads("mark")
    cpu_s = test.cpu_s()
    published = await test.feed.order(
        "run", seconds + ARRIVE_S, seconds=seconds, rate=SYMBOLS * test.options.per_second
    )
    spent_s = test.cpu_s() - cpu_s
    answers = await test.all_loads("read")
    latency = merged([answer["latency"] for answer in answers])
    last = dict(zip(test.venue.instruments, (await test.feed.order("finish"))["seqs"], strict=True))
    ends = await test.all_loads("expect", ARRIVE_S + 10, seqs=last, within_s=ARRIVE_S, books=False)
    return {
        "updates": published["updates"],
        "deliveries_per_second": round(count(answers)["updates"] / seconds),
        "gateway_cores": round(spent_s / seconds, 3),
        "p50_ms": latency.percentile(50) / 1000 if latency.count else None,
        "p99_ms": latency.percentile(99) / 1000 if latency.count else None,
        "behind": sum(end["behind"] for end in ends),
        "open": sum(end["open"] for end in ends),
        "faults": sum(end["faults"] for end in ends),
        "first_fault": next((end["first_fault"] for end in ends if end["first_fault"]), None),
        "closed": sum(end["totals"]["closed"] for end in ends),
    }


def count(answers: Sequence[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for answer in answers:
        total.update(answer["counters"])
    return total


async def drain(test: Test) -> dict[str, Any]:
    """SIGTERM: every client is told when to go, and goes; ends when the gateway's processes have ended."""
    began_s = time.monotonic()
    os.kill(test.gateway.pid, signal.SIGTERM)
    async with asyncio.timeout(DRAIN_S):
        await test.gateway.wait()
    seconds = time.monotonic() - began_s
    ends = await test.all_loads("expect", seqs={}, within_s=0, books=False)
    return {
        "seconds": round(seconds, 1),
        "spread_s": test.options.drain_ms / 1000,
        "told": sum(end["totals"]["drains"] for end in ends),
        "cut": sum(end["close_codes"].get("1006", 0) for end in ends),
        "left": sum(end["open"] for end in ends),
        "status": test.gateway.status,
    }


# ---- the result


def tell(text: str) -> None:
    print(f"million: {text}", file=sys.stderr, flush=True)


def show(figures: dict[str, Any]) -> None:
    print(f"{figures['reached']:,} of {figures['asked']:,} connections, {figures['workers']} workers")
    if figures["stopped_by"]:
        print(f"  stopped by     {figures['stopped_by']}")
    for name, line in LINES.items():
        print(f"  {name:14} {line.format_map(figures)}")


if __name__ == "__main__":
    main()
