"""Random order flow of one instrument: limit orders, cancellations and market orders on a ladder of ticks. No I/O, no clock.

After Cont, Stoikov and Talreja, "A stochastic model for order book dynamics" (2010): the distance of limit orders and
cancellations from the opposite best price follows a power law; market orders take levels from the best price on. Market orders
tend to move the price towards a fundamental value, which wanders and reverts.

A block of orders is computed at once: at a million level changes a second one Python statement per level is too slow. The size at
a level is then a random walk that is reflected at zero: x(t) = s(t) − min(0, min s(u), u ≤ t).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

REACH = 600
"""The greatest distance of an order from the opposite best price, in ticks."""
KEEP = 900
"""Levels farther than this from the best price are cancelled."""
WINDOW = 8192
"""Ticks on the ladder. It moves when a best price comes within ``MARGIN`` of its end."""
MARGIN = 1600
MAX_SWEEP = 12
"""The most ticks that a market order takes; the unfilled part is cancelled."""
PRUNE_EVERY = 256
MAX_BLOCK = 4096
"""The most orders in one block."""
_SEGMENT = 10**14
"""Greater than any sum of sizes, so that running minima of different levels do not mix."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One instrument: its scale, where its price starts and how it moves. Prices are in ticks, sizes in lots."""

    symbol: str
    price_exp: int
    size_exp: int
    start: int
    typical_size: int
    sigma: float = 8.0
    """The standard deviation of the fundamental value's move in a second, in ticks."""


class Fill(NamedTuple):
    """One trade: the taker's side, price and size."""

    side: Literal["buy", "sell"]
    ticks: int
    lots: int


class Update(NamedTuple):
    """One atomic book update, flat ``[ticks, lots, …]``, and its trades."""

    bids: Ints
    asks: Ints
    changes: int
    fills: tuple[Fill, ...] = ()


class OrderFlow:
    """One instrument's book and orders.

    ``_lots`` holds the size by offset: ``offset`` ticks above ``base`` for bids, the same + WINDOW for asks.
    """

    def __init__(self, profile: Profile, rng: np.random.Generator) -> None:
        self.profile = profile
        self._rng = rng
        self._base = profile.start - WINDOW // 2
        self._value = float(profile.start)
        self._blocks = 0
        self._lots: Ints = np.zeros(2 * WINDOW, dtype=np.int64)
        self._bids: Ints = self._lots[:WINDOW]
        self._asks: Ints = self._lots[WINDOW:]
        self._best_bid = WINDOW // 2
        self._best_ask = self._best_bid + 1
        sizes = rng.lognormal(0.0, 1.0, 16 * MAX_BLOCK) * profile.typical_size
        self._size_stock: Ints = np.maximum(sizes, 1).astype(np.int64)
        self._seed()

    def _seed(self) -> None:
        """Fills the book as the flow would: fewer levels far from the best prices."""
        steps = np.arange(REACH)
        for ladder, offsets in ((self._bids, self._best_bid - steps), (self._asks, self._best_ask + steps)):
            stands = self._rng.random(REACH) < 1 / (1 + steps / 150)
            stands[0] = True
            ladder[offsets[stands]] = self._sizes(REACH)[stands]

    def _sizes(self, n: int) -> Ints:
        """``n`` ≤ MAX_BLOCK order sizes, from a stock drawn once, because logarithms are slow."""
        at = int(self._rng.integers(len(self._size_stock) - n))
        return self._size_stock[at : at + n].copy()

    # ---- the book

    def full_book(self) -> tuple[Ints, Ints]:
        """Flat levels, best first."""
        bids = np.flatnonzero(self._bids)[::-1]
        asks = np.flatnonzero(self._asks)
        return self._flat(bids, self._bids[bids]), self._flat(asks, self._asks[asks])

    @property
    def best(self) -> tuple[int, int]:
        """Best bid and ask, in ticks."""
        return self._base + self._best_bid, self._base + self._best_ask

    # ---- orders

    def wander(self, dt_s: float) -> None:
        """Moves the fundamental value by ``dt_s``; it reverts to the start price with a half-life of minutes."""
        noise = float(self._rng.standard_normal()) * self.profile.sigma * sqrt(dt_s)
        self._value += noise - (self._value - self.profile.start) * dt_s / 400

    def block(self, orders: int, per_update: float) -> list[Update]:
        """The updates of ``orders`` orders, about ``per_update`` orders each; often with a market order first."""
        self._blocks += 1
        updates: list[Update] = []
        if self._rng.random() < min(0.08 * orders, 0.6):
            self._market_order(updates)
        self._limit_orders(orders, per_update, updates)
        if self._blocks % PRUNE_EVERY == 0:
            self._prune(updates)
        self._recentre()
        return updates

    def _market_order(self, updates: list[Update]) -> None:
        middle = self._base + (self._best_bid + self._best_ask) / 2
        buys = self._rng.random() < 1 / (1 + exp(max(min((middle - self._value) / 4, 30), -30)))
        steps = np.arange(MAX_SWEEP)
        ladder, offsets = (
            (self._asks, self._best_ask + steps) if buys else (self._bids, self._best_bid - steps)
        )
        standing = ladder[offsets]
        before = np.cumsum(standing) - standing
        taken = np.clip(2 * self._sizes(1) - before, 0, standing)
        if before[-1] + standing[-1] == ladder.sum():
            return  # a side must not become empty
        hit = taken > 0
        ladder[offsets] -= taken
        pairs = zip((self._base + offsets[hit]).tolist(), taken[hit].tolist(), strict=True)
        fills = tuple(Fill("buy" if buys else "sell", ticks, lots) for ticks, lots in pairs)
        changes = self._flat(offsets[hit], ladder[offsets[hit]])
        nothing = changes[:0]
        bids, asks = (nothing, changes) if buys else (changes, nothing)
        updates.append(Update(bids, asks, len(fills), fills))
        self._find_best()

    def _limit_orders(self, orders: int, per_update: float, updates: list[Update]) -> None:
        rng = self._rng
        is_ask = rng.random(orders) < 0.5
        # Power law P(d ≥ x) ~ x^-0.5: a third of the orders within a few ticks of the best price, and a long tail.
        distances = ((1 - rng.random(orders)) ** -2.0 - 1).clip(max=1e9).astype(np.int64) % REACH
        # Only one side may narrow the spread in one block, or the sides could cross.
        bids_improve = rng.random() < 0.5
        best_bid = self._best_ask - 1 if bids_improve else self._best_bid
        best_ask = self._best_ask if bids_improve else self._best_bid + 1
        keys = np.where(is_ask, WINDOW + best_ask + distances, best_bid - distances)
        amounts = self._sizes(orders)
        # Cancellations take a little more than orders add, or the book would grow for ever.
        amounts[rng.random(orders) < 0.53] *= -1
        numbers = np.cumsum(rng.random(orders) < 1 / per_update, dtype=np.int64)
        self._walk(keys, amounts, numbers, updates)
        self._keep_alive(best_bid, best_ask, updates)
        self._find_best()

    def _walk(self, keys: Ints, amounts: Ints, numbers: Ints, updates: list[Update]) -> None:
        """Applies amounts level by level, in order; ``numbers`` tells the update of each."""
        # For 16 bits numpy's stable sort is a radix sort.
        order = np.argsort(keys.astype(np.uint16), kind="stable")
        keys, amounts, numbers = keys[order], amounts[order], numbers[order]
        first = np.empty(len(keys), dtype=bool)
        first[0] = True
        np.not_equal(keys[1:], keys[:-1], out=first[1:])
        segment = np.cumsum(first) - 1
        sums = np.cumsum(amounts)
        starts = np.flatnonzero(first)
        walk = sums + (self._lots[keys[starts]] - sums[starts] + amounts[starts])[segment]
        lowest = np.minimum.accumulate(walk - segment * _SEGMENT) + segment * _SEGMENT
        sizes = walk - np.minimum(lowest, 0)
        # Keep the last change of each level in each update …
        newest = np.flatnonzero(np.append(first[1:] | (numbers[1:] != numbers[:-1]), True))
        keys, sizes, numbers, segment = keys[newest], sizes[newest], numbers[newest], segment[newest]
        last = np.append(segment[1:] != segment[:-1], True)
        before = np.append(0, sizes[:-1])
        opens = np.append(True, last[:-1])
        before[opens] = self._lots[keys[opens]]
        self._lots[keys[last]] = sizes[last]
        # … unless it changed nothing.
        kept = np.flatnonzero(sizes != before)
        self._split(keys[kept], sizes[kept], numbers[kept], updates)

    def _split(self, keys: Ints, sizes: Ints, numbers: Ints, updates: list[Update]) -> None:
        is_ask = keys >= WINDOW
        groups = 2 * numbers + is_ask
        order = np.argsort(groups.astype(np.uint16), kind="stable")
        groups = groups[order]
        flat = self._flat((keys - WINDOW * is_ask)[order], sizes[order])
        if not len(groups):
            return
        bounds = (2 * np.searchsorted(groups, np.arange(groups[0] & ~1, groups[-1] + 3))).tolist()
        for at in range(0, len(bounds) - 2, 2):
            low, middle, high = bounds[at : at + 3]
            if high > low:
                updates.append(Update(flat[low:middle], flat[middle:high], (high - low) // 2))

    def _keep_alive(self, best_bid: int, best_ask: int, updates: list[Update]) -> None:
        """Adds an order to a side that cancellations have emptied."""
        nothing = np.empty(0, dtype=np.int64)
        if not self._bids.any():
            self._bids[best_bid] = self.profile.typical_size
            updates.append(Update(self._flat(np.array([best_bid]), self._bids[[best_bid]]), nothing, 1))
        if not self._asks.any():
            self._asks[best_ask] = self.profile.typical_size
            updates.append(Update(nothing, self._flat(np.array([best_ask]), self._asks[[best_ask]]), 1))

    def _prune(self, updates: list[Update]) -> None:
        far_bids = np.flatnonzero(self._bids[: max(self._best_bid - KEEP, 0)])
        far_asks = np.flatnonzero(self._asks[self._best_ask + KEEP :]) + self._best_ask + KEEP
        if len(far_bids) or len(far_asks):
            self._bids[far_bids] = 0
            self._asks[far_asks] = 0
            bids, asks = (
                self._flat(far_bids, self._bids[far_bids]),
                self._flat(far_asks, self._asks[far_asks]),
            )
            updates.append(Update(bids, asks, len(far_bids) + len(far_asks)))

    # ---- the ladder

    def _flat(self, offsets: Ints, lots: Ints) -> Ints:
        flat = np.empty(2 * len(offsets), dtype=np.int64)
        flat[::2] = offsets + self._base
        flat[1::2] = lots
        return flat

    def _find_best(self) -> None:
        """Finds both best prices: each is near where the other one was, because the spread is narrow."""
        near = max(self._best_ask - 64, 0)
        found = np.flatnonzero(self._bids[near : self._best_ask + 1])
        self._best_bid = near + int(found[-1]) if len(found) else int(np.flatnonzero(self._bids)[-1])
        found = np.flatnonzero(self._asks[self._best_bid + 1 : self._best_bid + 65])
        self._best_ask = (
            self._best_bid + 1 + int(found[0]) if len(found) else int(np.flatnonzero(self._asks)[0])
        )

    def _recentre(self) -> None:
        """Moves the ladder when a best price comes near its end."""
        if self._best_bid >= MARGIN and self._best_ask < WINDOW - MARGIN:
            return
        shift = (self._best_bid + self._best_ask) // 2 - WINDOW // 2
        self._base += shift
        self._best_bid -= shift
        self._best_ask -= shift
        for ladder in (self._bids, self._asks):
            moved = np.roll(ladder, -shift)
            if shift > 0:
                moved[-shift:] = 0
            else:
                moved[:-shift] = 0
            ladder[:] = moved
