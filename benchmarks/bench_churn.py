"""Subscribing and leaving, in the hub: ``python -m pytest benchmarks/bench_churn.py``.

A round moves ``MOVES`` subscriptions of 1,000 sinks. The parameter is the number of books (of 100) that a sink subscribes to. A move
leaves one book and subscribes to another, with a snapshot of 20 levels a side. ``ns`` is the time of one move; ``bytes`` is the memory
of a subscription.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from doubles.memory_sink import MemorySink

from mdstream._core.codec.feed_encoder import pack_snap
from mdstream._core.fanout.hub import Hub

INSTRUMENTS = 100
SINKS = 1_000
MOVES = 10_000
ROUNDS = 10
LEVELS = 20
EPOCH = 1_723_075_200_000_000


class Crowd:
    """Sinks that change their subscriptions in a prepared random order."""

    def __init__(self, each: int) -> None:
        self.hub = Hub()
        self.hub.tick(EPOCH)
        self.instruments = [self.hub.add_instrument(f"SIM:{i}", -2, -8) for i in range(INSTRUMENTS)]
        for instrument in self.instruments:
            bids = [n for i in range(LEVELS) for n in (1_000_000 - i, 10**8)]
            asks = [n for i in range(LEVELS) for n in (1_000_001 + i, 10**8)]
            self.hub.load_snap(instrument, pack_snap(EPOCH, 0, EPOCH, bids, asks))
        self.random = random.Random(1)
        self.sinks = [MemorySink(1, keep=False) for _ in range(SINKS)]
        self.held = [self.random.sample(range(INSTRUMENTS), each) for _ in range(SINKS)]
        for sink, held in zip(self.sinks, self.held, strict=True):
            for which in held:
                self.subscribe(sink, which)

    def subscribe(self, sink: MemorySink, which: int) -> None:
        topic = self.hub.topic(self.instruments[which], "book")
        self.hub.subscribe(sink, topic)
        self.hub.catch_up(sink, topic)

    def moves(self) -> list[tuple[MemorySink, int, int]]:
        """Which sink moves from which book to which."""
        drawn = []
        for _ in range(MOVES):
            i = self.random.randrange(SINKS)
            held = self.held[i]
            taken = self.random.choice([which for which in range(INSTRUMENTS) if which not in held])
            place = self.random.randrange(len(held))
            drawn.append((self.sinks[i], held[place], taken))
            held[place] = taken
        return drawn

    def move(self, moves: list[tuple[MemorySink, int, int]]) -> None:
        hub, instruments = self.hub, self.instruments
        for sink, left, taken in moves:
            hub.unsubscribe(sink, hub.topic(instruments[left], "book"))
            self.subscribe(sink, taken)

    def bytes_each(self) -> float:
        topics = [self.hub.topic(instrument, "book") for instrument in self.instruments]
        total = sum(one.subscription_bytes for one in [*topics, *self.sinks])
        return total / self.hub.stats()["subscriptions"]


@pytest.mark.parametrize("each", [1, 10, 90])
def test_churn(benchmark: Any, each: int) -> None:
    crowd = Crowd(each)
    benchmark.pedantic(crowd.move, setup=lambda: ((crowd.moves(),), {}), rounds=ROUNDS)
    assert crowd.hub.stats()["subscriptions"] == each * SINKS
    benchmark.extra_info["bytes"] = round(crowd.bytes_each(), 1)
    if benchmark.stats is not None:
        benchmark.extra_info["ns"] = round(benchmark.stats.stats.min * 1e9 / MOVES)
