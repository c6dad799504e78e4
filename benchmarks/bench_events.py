"""Events. ``PYTHONPATH=tests python benchmarks/bench_events.py fanout``: what a delivery of an event costs against one of a book's delta
of the same size, to 10,000 subscribers in memory, in turn. ``… latency``: from a client of one gateway to a client of another, at a rate,
with a real nats-server; each gateway, and the clients, are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from mdstream._core.codec.feed_encoder import pack_book, pack_snap
from mdstream._core.fanout.hub import Hub
from mdstream.bus.embedded import EmbeddedNats
from mdstream.bus.events import Event, encode_event
from mdstream.bus.stored_message import Numbered
from mdstream.client import connect
from mdstream.gateway import Gateway, GatewayConfig
from mdstream.gateway.event_log import EventLog, TotalBytes

EPOCH = 1_723_075_200_000_000
SUBSCRIBERS = 10_000
ROUNDS = 60


# ---- fan-out


def fanout() -> None:
    from doubles.memory_sink import MemorySink  # compiled for the tests

    hub = Hub()
    instrument = hub.add_instrument("SIM:A", -2, -8)
    bids = [n for i in range(500) for n in (1_000_000 - i, 10**8)]
    asks = [n for i in range(500) for n in (1_000_001 + i, 10**8)]
    hub.load_snap(instrument, pack_snap(EPOCH, 0, EPOCH, bids, asks))
    book = hub.topic(instrument, "book")
    log = EventLog("desk.notices", TotalBytes())
    composed = hub.compose("desk.notices", "events", 0, log, epoch=1)
    log.sub = composed.number
    for topic in (book, composed):
        for _ in range(SUBSCRIBERS):
            sink: Any = MemorySink(1, keep=False)
            hub.subscribe(sink, topic, (1, 0) if topic is composed else None)
            hub.catch_up(sink, topic)

    def delta(seq: int) -> None:
        near = random.sample(range(20), 5)
        changed = [
            [n for i in near for n in (1_000_000 + s * i + (s > 0), random.randrange(1, 10**9))]
            for s in (-1, 1)
        ]
        hub.take_book(instrument, pack_book(EPOCH, seq, seq, EPOCH + seq, *changed))
        hub.flush(EPOCH + seq)

    delta(1)  # the first one is not like those that follow
    size = _size(hub, delta)
    event = Event("notice", (size - 50) * "x", "alice")
    payload = encode_event(event)

    def notice(seq: int) -> None:
        log.append(Numbered(seq, seq - 1, EPOCH + seq, payload), event)
        log.sent = seq
        hub.publish(composed, seq, EPOCH + seq)

    took: dict[Any, list[int]] = {delta: [], notice: []}
    sent = {delta: 0, notice: 0}
    for number in range(3, ROUNDS + 3):
        for work in (delta, notice):
            before = hub.stats()
            began = time.process_time_ns()
            work(number)
            took[work].append(time.process_time_ns() - began)
            sent[work] = (hub.stats()["bytes"] - before["bytes"]) // SUBSCRIBERS  # type: ignore[operator]
    for work, name in ((delta, "delta"), (notice, "event")):
        ns = statistics.median(took[work]) / SUBSCRIBERS
        print(f"{name}: {sent[work]} bytes, {ns:.1f} ns a delivery (median of {ROUNDS})")
    ratios = [b / a for a, b in zip(took[delta], took[notice], strict=True)]
    print(f"event / delta: {statistics.median(ratios):.3f}")


def _size(hub: Hub, work: Any) -> int:
    before = hub.stats()["bytes"]
    work(2)
    return int((hub.stats()["bytes"] - before) // SUBSCRIBERS)  # type: ignore[operator]


# ---- latency


def serve(url: str, ports: Any, number: int) -> None:
    async def run() -> None:
        config = GatewayConfig(
            nats=(url,),
            port=0,
            admin_port=0,
            events_storage="memory" if "memory" in sys.argv else "file",
            events_max_bytes=64 * 1024 * 1024,
            publishes_per_second=1_000_000,
            publishes_burst=1_000_000,
            commands_per_second=1_000_000,
            commands_burst=1_000_000,
            decoded_bytes_per_second=2**30,
            decoded_bytes_burst=2**30,
        )
        gateway = Gateway(config)
        await gateway.start()
        await gateway.wait_ready()
        ports.put((number, gateway.url))
        await asyncio.Event().wait()

    uvloop.run(run())


async def latency(rate: int, seconds: float) -> None:
    context = multiprocessing.get_context("spawn")
    async with await EmbeddedNats.start() as nats:
        ports: Any = context.Queue()
        workers = [context.Process(target=serve, args=(nats.url, ports, n), daemon=True) for n in range(2)]
        for worker in workers:
            worker.start()
        urls = dict([ports.get(timeout=30) for _ in workers])
        pids = {"publishing gateway": workers[0].pid, "delivering gateway": workers[1].pid, "NATS": nats.pid}
        before = {name: _cpu_us(pid) for name, pid in pids.items()}
        try:
            sent = await _send(urls[0], urls[1], rate, seconds)
            for name, pid in pids.items():
                print(f"{name}: {(_cpu_us(pid) - before[name]) / sent:.0f} µs of CPU an event")
        finally:
            for worker in workers:
                worker.terminate()


def _cpu_us(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


async def _send(one: str, other: str, rate: int, seconds: float) -> int:
    took: list[float] = []
    topics = [f"desk.{n}" for n in range(20)]
    async with connect(one) as writer, connect(other) as reader:
        for topic in topics:
            found = await reader.events(topic)
            found.on_event(lambda event: took.append(time.perf_counter() - event.data[0]))
        core = writer._core  # type: ignore[attr-defined]  # straight to the wire: no wait for each answer
        await writer.publish(topics[0], "n", [time.perf_counter(), ""])
        answers: list[Any] = []
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) - began < seconds:
            while sent < (now - began) * rate:
                data = [time.perf_counter(), 100 * "x"]
                core.publish(topics[sent % len(topics)], "n", data, str(sent), answers.append)
                sent += 1
            await asyncio.sleep(0.0005)
        async with asyncio.timeout(10):
            while len(took) < sent + 1:
                await asyncio.sleep(0.01)
    took.sort()
    figures = ", ".join(
        f"p{p:g} {took[min(int(len(took) * p / 100), len(took) - 1)] * 1e3:.2f} ms"
        for p in (50, 90, 99, 99.9)
    )
    print(f"{sent} events in {seconds:g} s ({rate}/s): {figures}")
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("fanout", "latency"))
    parser.add_argument("storage", nargs="?", choices=("file", "memory"), default="file")
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    if args.what == "fanout":
        fanout()
    else:
        uvloop.run(latency(args.rate, args.seconds))


if __name__ == "__main__":
    main()
