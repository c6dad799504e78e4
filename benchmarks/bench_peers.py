"""Messages from a client of one server to a client of another: mdstream next to Centrifugo, Socket.IO and nats-server's WebSocket.

``sh benchmarks/peers/setup.sh`` installs the others into build/peers; what is not installed is left out and said. Then
``python benchmarks/bench_peers.py``. Each system runs by itself, with two servers and what it has between them; the
systems take turns, and the figures are medians of the rounds. Writer and reader are in one process with one clock and one WebSocket
library, and say what each protocol wants. The data is the same in all: 120 bytes, to 20 topics, at a steady rate. A latency is from just
before the message is encoded until it is decoded. CPU is that of the servers and of what is between them, without the clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import picows
import uvloop
from peers.systems import SYSTEMS, Running, System, listening
from peers.wires import Wire

TOPICS = [f"desk.{n}" for n in range(20)]
TURN_S = 0.0005
WAIT_S = 30.0
SETTLE_S = 1.0
PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True)
class Figures:
    """Of one system in one round."""

    system: str
    sent: int
    missing: int
    """Messages that did not come within some seconds."""
    unanswered: int
    milliseconds: list[float]
    """At each of PERCENTILES."""
    cpu_us: dict[str, float]
    """Of each process, for each message."""

    @property
    def cpu(self) -> float:
        return sum(self.cpu_us.values())


class Listener(picows.WSListener):  # type: ignore[misc, name-defined]
    def __init__(self, wire: type[Wire]) -> None:
        kind = picows.WSMsgType.BINARY if wire.is_binary else picows.WSMsgType.TEXT
        self.wire = wire(lambda data: self._transport.send(kind, data))
        self._kinds = (picows.WSMsgType.BINARY, picows.WSMsgType.TEXT)

    def on_ws_connected(self, transport: Any) -> None:
        self._transport = transport
        self.wire.begin()

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type in self._kinds:
            self.wire.take(frame.get_payload_as_bytes())


async def connect(kind: type[Wire], url: str) -> tuple[Any, Wire]:
    transport, listener = await picows.ws_connect(
        lambda: Listener(kind), url + kind.path, extra_headers=kind.headers
    )
    await until(lambda: listener.wire.is_open, "it is connected")
    return transport, listener.wire


async def until(holds: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s until {what}")
        await asyncio.sleep(0.01)


async def measure(system: System, rate: int, seconds: float) -> Figures:
    with system.running() as running:
        await listening(running, *(urlsplit(url).port or 0 for url in running.urls))
        transports, (writer, reader) = await join(system, running)
        before = running.cpu_us()
        sent = await send(writer, reader, rate, seconds)
        after = running.cpu_us()
        for transport in transports:
            transport.disconnect()
    if writer.refused or reader.refused:
        raise RuntimeError(f"{system.name} refused: {(writer.refused + reader.refused)[0]}")
    took = sorted(reader.took)
    at = [took[min(int(len(took) * p / 100), len(took) - 1)] * 1e3 for p in PERCENTILES]
    cpu_us = {name: (after[name] - before[name]) / sent for name in after}
    return Figures(system.name, sent, sent - len(took), sent - writer.answered, at, cpu_us)


async def join(system: System, running: Running) -> tuple[list[Any], list[Wire]]:
    """A writer at the first server and a reader at the second, when each topic has come through."""
    pairs = [await connect_until_it_is_there(system.wire, url) for url in running.urls]
    writer, reader = (wire for _, wire in pairs)
    reader.join(TOPICS)
    await until(lambda: reader.joined == len(TOPICS), "it is subscribed")
    deadline = time.monotonic() + WAIT_S
    while len(reader.topics) < len(TOPICS) and time.monotonic() < deadline:
        for topic in TOPICS:
            writer.publish(topic, [time.perf_counter(), ""])
        await asyncio.sleep(0.1)
    return [transport for transport, _ in pairs], [writer, reader]


async def connect_until_it_is_there(kind: type[Wire], url: str) -> tuple[Any, Wire]:
    """A server that listens may still refuse: a gateway whose bus is not there yet."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return await connect(kind, url)
        except (OSError, picows.WSError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)


async def send(writer: Wire, reader: Wire, rate: int, seconds: float) -> int:
    """Sends at the rate for a second, then for so long what counts. Returns how many messages that were."""
    await _send(writer, rate, SETTLE_S)
    await asyncio.sleep(SETTLE_S)
    reader.took.clear()
    writer.answered = 0
    sent = await _send(writer, rate, seconds)
    end = time.monotonic() + 5
    while (len(reader.took) < sent or writer.answered < sent) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    return sent


async def _send(writer: Wire, rate: int, seconds: float) -> int:
    filling = 100 * "x"
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < seconds:
        while sent < (now - began) * rate:
            writer.publish(TOPICS[sent % len(TOPICS)], [time.perf_counter(), filling])
            sent += 1
        await asyncio.sleep(TURN_S)
    return sent


def show(rounds: list[Figures]) -> None:
    for name in dict.fromkeys(figures.system for figures in rounds):
        own = [figures for figures in rounds if figures.system == name]
        latency = ", ".join(
            f"p{p:g} {statistics.median(each.milliseconds[at] for each in own):.2f}"
            for at, p in enumerate(PERCENTILES)
        )
        parts = ", ".join(
            f"{part} {statistics.median(each.cpu_us[part] for each in own):.0f}" for part in own[0].cpu_us
        )
        cpu = statistics.median(each.cpu for each in own)
        missing = sum(each.missing for each in own)
        print(f"{name}: {latency} ms; {cpu:.0f} µs of CPU a message ({parts}); {missing} missing")


async def run(options: argparse.Namespace) -> None:
    systems = [each for each in SYSTEMS if not options.only or options.only in each.name]
    for absent in (each for each in systems if not each.is_installed):
        print(f"{absent.name}: not installed, see benchmarks/peers/setup.sh")
    rounds = []
    for number in range(options.rounds):
        for system in (each for each in systems if each.is_installed):
            figures = await measure(system, options.rate, options.seconds)
            rounds.append(figures)
            print(f"round {number + 1}: ", end="")
            show([figures])
        store(options, rounds)
    print(f"\nmedians of {options.rounds} rounds, {options.rate} messages/s for {options.seconds:g} s:")
    show(rounds)


def store(options: argparse.Namespace, rounds: list[Figures]) -> None:
    """After each round, so that those before it are not lost with one that fails."""
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([asdict(each) for each in rounds], indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="systems whose name has this")
    parser.add_argument("--json", type=Path, help="where to write the figures of each round")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
