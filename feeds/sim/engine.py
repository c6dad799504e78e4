"""Decides what happens when, over all instruments: bursts, rates, halts. Simulated time only; no I/O.

Bursts follow a self-exciting (Hawkes) process in slices of 5 ms: each burst makes more bursts of the same instrument likely for a
while. The same seed, symbols and rate give the same sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp
from typing import NamedTuple
from zlib import crc32

import numpy as np

from mdstream.feeds.sim.order_flow import MAX_BLOCK, OrderFlow, Profile, Update

SLICE_US = 5_000
BRANCHING = 0.5
"""Bursts that one burst causes, on average."""
DECAY_PER_S = 5.0
MAX_BURSTS_PER_S = 500.0
CHANGES_PER_BURST = 4.0
"""At medium rates. At MAX_BURSTS_PER_S bursts grow in size, not in number."""
CATCH_UP_S = 3.0
HALT_S = (2.0, 8.0)
WANDER_SLICES = 10

KNOWN = (
    Profile("BTC-USD", -2, -8, 6_412_310, 20_000_000),
    Profile("ETH-USD", -2, -8, 342_155, 300_000_000, sigma=5),
    Profile("SOL-USD", -2, -6, 15_842, 40_000_000, sigma=3),
    Profile("XRP-USD", -5, -2, 58_731, 250_000, sigma=5),
    Profile("EUR-USD", -5, 0, 108_512, 250_000, sigma=2),
)


class Burst(NamedTuple):
    """Updates of instrument ``number`` that come together, ``at_us`` after the start."""

    number: int
    at_us: int
    updates: list[Update]


class Status(NamedTuple):
    """Instrument ``number`` is halted, or trades again."""

    number: int
    at_us: int
    state: str
    reason: str


Event = Burst | Status


def profile(symbol: str) -> Profile:
    """The profile of a known symbol; for others one derived from the name."""
    for known in KNOWN:
        if known.symbol == symbol:
            return known
    number = crc32(symbol.encode())
    return Profile(symbol, -2, -4, 5_000 + number % 495_000, 10_000 * (1 + number % 97), sigma=2 + number % 5)


class Simulation:
    """A venue. ``rate`` is the average number of level changes per simulated second, of all instruments."""

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        seed: int,
        rate: float,
        changes_per_update: float | None = None,
        halts_per_hour: float = 6.0,
    ) -> None:
        seeds = np.random.SeedSequence(seed).spawn(len(symbols) + 1)
        self.flows = [
            OrderFlow(profile(symbol), np.random.default_rng(own))
            for symbol, own in zip(symbols, seeds[1:], strict=True)
        ]
        self._rng = np.random.default_rng(seeds[0])
        # At higher rates updates get larger, because one core carries only so many updates.
        self._per_update = changes_per_update or min(max(rate / 40_000, 3.0), 25.0)
        # The first instruments are the busiest, as in real markets: Zipf.
        weights = 1 / np.arange(1, len(symbols) + 1)
        bursts_per_s = min(rate / min(max(rate / 10, 1.0), CHANGES_PER_BURST), MAX_BURSTS_PER_S)
        intensity = weights / weights.sum() * bursts_per_s
        self._base = intensity * (1 - BRANCHING)
        self._excited = intensity * BRANCHING
        self._changes_per_burst = rate / bursts_per_s
        self._orders_per_change = 1.0
        self._rate = rate
        self._changes = 0
        self._slice = 0
        self._halts_per_slice = halts_per_hour / 3600 * SLICE_US / 1e6
        self._halted_until = [0] * len(symbols)

    @property
    def now_us(self) -> int:
        """Simulated time since the start; ``advance`` has yielded all events before it."""
        return self._slice * SLICE_US

    def advance(self) -> Iterator[Event]:
        """Yields the events of the next slice, in order."""
        at_us = self.now_us
        self._slice += 1
        if self._slice % WANDER_SLICES == 0:
            for flow in self.flows:
                flow.wander(WANDER_SLICES * SLICE_US / 1e6)
        for index in range(len(self.flows)):
            yield from self._halt(index, at_us)
        bursts = self._rng.poisson((self._base + self._excited) * (SLICE_US / 1e6))
        self._excited *= exp(-DECAY_PER_S * SLICE_US / 1e6)
        self._excited += BRANCHING * DECAY_PER_S * bursts
        for index in np.flatnonzero(bursts).tolist():
            trading = self._trading(index)
            if trading is not None:
                yield from self._burst(trading, int(bursts[index]), at_us)

    def _trading(self, index: int) -> int | None:
        """``index``, or the next instrument that is not halted, so that the rate stays."""
        count = len(self.flows)
        candidates = ((index + step) % count for step in range(count))
        return next((each for each in candidates if not self._halted_until[each]), None)

    def _halt(self, index: int, at_us: int) -> Iterator[Event]:
        until = self._halted_until[index]
        if until and at_us >= until:
            self._halted_until[index] = 0
            yield Status(index, at_us, "trading", "")
        elif not until and self._rng.random() < self._halts_per_slice:
            self._halted_until[index] = at_us + int(self._rng.uniform(*HALT_S) * 1e6)
            yield Status(index, at_us, "halted", "simulated halt")

    def _burst(self, index: int, bursts: int, at_us: int) -> Iterator[Event]:
        # The rate may vary for seconds; over a longer time this keeps it.
        owed = self._rate * at_us / 1e6 - self._changes
        scale = 1 + min(max(owed / (CATCH_UP_S * self._rate), -0.5), 0.5)
        wanted = round(int(self._rng.geometric(1 / self._changes_per_burst, bursts).sum()) * scale)
        flow = self.flows[index]
        while wanted > 0:
            orders = min(max(round(wanted * self._orders_per_change), 1), MAX_BLOCK)
            updates = flow.block(orders, self._per_update)
            changes = sum(update.changes for update in updates)
            self._changes += changes
            yield Burst(index, at_us, updates)
            wanted -= max(changes, 1)
            # Some orders share a level or cancel nothing: measure how many orders make one change.
            self._orders_per_change += 0.01 * (min(orders / max(changes, 1), 10.0) - self._orders_per_change)
