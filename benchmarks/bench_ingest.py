"""From the bytes that NATS sends to changed books: ``python -m pytest benchmarks/bench_ingest.py``; with
``--benchmark-timer=time.process_time`` in CPU time, for a machine that others use too.

Each round gives a prepared stream over ``INSTRUMENTS`` books to the reader of the bus, ``READ`` bytes at a time, and flushes once per
read. The extra columns are the best round's ns per update and per level change.

A gateway that keeps up has done other work before the next burst comes. ``cold`` measures that case: bursts of single updates, with all
caches filled with other memory between them; the extra column is the median.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import msgpack
import numpy as np
import pytest

from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.instrument import Instrument
from mdstream._core.ingest.intake import BookIntake, InstrumentReceiver
from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers
from support.flushing import HandLoop, scheduler_of

READ = 32768
INSTRUMENTS = 200
MESSAGES = 20_000
SPREAD = 40
BURST = 100
CACHES = 64 << 20
"""Bytes: more than the processor's caches hold."""


def update(chance: random.Random, seq: int, changes: int) -> bytes:
    """Changes around the touch: most of them near, a tenth deep."""
    sides: tuple[list[int], list[int]] = ([], [])
    for _ in range(changes):
        away = chance.randrange(1, SPREAD) if chance.random() < 0.9 else chance.randrange(SPREAD, 400)
        side = chance.randrange(2)
        sides[side].extend((10_000 + (away if side else -away), chance.choice((0, *range(1, 9)))))
    packed: bytes = msgpack.packb([1, 1, seq, seq, 1_700_000_000_000_000 + seq, *sides])
    return packed


def messages(per_message: int, changes: int) -> list[bytes]:
    """The server's bytes: messages of ``per_message`` updates each, round robin."""
    chance = random.Random(per_message * 1000 + changes)
    seqs = [itertools.count(1) for _ in range(INSTRUMENTS)]
    parts = []
    for number in range(MESSAGES // per_message):
        which = number % INSTRUMENTS
        payload = b"".join(update(chance, next(seqs[which]), changes) for _ in range(per_message))
        parts.append(b"MSG md.SIM.SYM%04d.book %d %d\r\n%b\r\n" % (which, which + 1, len(payload), payload))
    return parts


def cut(whole: bytes) -> list[bytes]:
    return [whole[at : at + READ] for at in range(0, len(whole), READ)]


class Gateway:
    """The tap, receivers and a hub, as in a gateway; no socket."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.loop = HandLoop()
        self.scheduler = scheduler_of(self.loop)
        handlers = Handlers()
        self.tap = NatsTap(handlers, {"in_msgs": 0, "in_bytes": 0}, _never, _never)
        self.books: list[Instrument] = []
        for number in range(INSTRUMENTS):
            core = self.hub.add_instrument(f"SIM:SYM{number:04}", -2, -3)
            receiver = InstrumentReceiver(_never, lambda: None, self.scheduler)
            receiver.book = BookIntake(self.hub, core)
            handlers[number + 1] = receiver
            self.books.append(core)

    def read(self, reads: list[bytes]) -> None:
        for number, data in enumerate(reads):
            self.tap.feed(data)
            self.loop.turn()
            self.hub.flush(number)


def _never(*message: bytes) -> None:
    raise AssertionError("a message took the slow way")


@pytest.mark.parametrize(
    ("per_message", "changes"), [(1, 1), (1, 10), (1, 50), (50, 1)], ids=["1x1", "1x10", "1x50", "50x1"]
)
def test_ingest(benchmark: Any, per_message: int, changes: int) -> None:
    reads = cut(b"".join(messages(per_message, changes)))
    gateways: list[Gateway] = []

    def make() -> tuple[tuple[Gateway], dict[str, Any]]:
        gateways.append(Gateway())
        return (gateways[-1],), {}

    benchmark.pedantic(lambda gateway: gateway.read(reads), setup=make, rounds=5)
    updates = MESSAGES // per_message * per_message
    assert sum(book.updates_applied for book in gateways[-1].books) == updates
    if benchmark.stats is not None:
        best = benchmark.stats.stats.min / updates * 1e9
        benchmark.extra_info["ns_per_update"] = round(best)
        benchmark.extra_info["ns_per_change"] = round(best / changes)


@pytest.mark.parametrize("state", ["warm", "cold"])
def test_burst(benchmark: Any, state: str) -> None:
    gateway = Gateway()
    singles = messages(1, 1)
    bursts = [b"".join(singles[at : at + BURST]) for at in range(0, MESSAGES, BURST)]
    taken = itertools.count()
    other = np.zeros(CACHES // 8, dtype=np.int64)

    def between() -> tuple[tuple[bytes], dict[str, Any]]:
        if state == "cold":
            other[::8] += 1
        return (bursts[next(taken)],), {}

    benchmark.pedantic(gateway.tap.feed, setup=between, rounds=len(bursts))
    assert sum(book.updates_applied for book in gateway.books) == next(taken) * BURST
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_update"] = round(benchmark.stats.stats.median / BURST * 1e9)
