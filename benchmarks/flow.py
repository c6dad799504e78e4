"""A flow of level changes as books see it: clustered at the touch, a tenth of it far, a mid price that wanders."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

FAR = 0.10
"""Share of changes anywhere in the book; the rest falls off geometrically from the touch."""

NEAR_MEAN = 4
"""Mean distance of the others from the touch, in ticks."""


class Flow:
    """One instrument's book as dictionaries, and the changes to it. Two sides of about ``levels`` levels each."""

    def __init__(self, levels: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.span = levels * 10 // 8
        self.bid = 1_000_000
        """Highest price a bid may stand at; the lowest ask is one tick above."""
        self.bids = self._side(self.bid, -1)
        self.asks = self._side(self.bid + 1, 1)

    def _side(self, touch: int, step: int) -> dict[int, int]:
        return {touch + step * i: self._lots() for i in range(self.span) if self.random.random() < 0.8}

    def _lots(self) -> int:
        return self.random.randrange(1, 1 << 30)

    def snapshot(self) -> tuple[list[int], list[int]]:
        bids = [number for ticks in sorted(self.bids, reverse=True) for number in (ticks, self.bids[ticks])]
        asks = [number for ticks in sorted(self.asks) for number in (ticks, self.asks[ticks])]
        return bids, asks

    def update(self, changes: int) -> tuple[list[int], list[int]]:
        """One atomic update of about ``changes`` level changes, flat."""
        bids: list[int] = []
        asks: list[int] = []
        if self.random.random() < 0.02 * changes:
            self._move(self.random.choice((-1, 1)), bids, asks)
        for _ in range(changes - (len(bids) + len(asks)) // 2):
            if self.random.random() < 0.5:
                bids += self._change(self.bids, self.bid, -1)
            else:
                asks += self._change(self.asks, self.bid + 1, 1)
        return bids, asks

    def _move(self, step: int, bids: list[int], asks: list[int]) -> None:
        """The mid price moves by a tick: the level in the way is taken."""
        self.bid += step
        if step > 0 and self.asks.pop(self.bid, 0):
            asks += (self.bid, 0)
        if step < 0 and self.bids.pop(self.bid + 1, 0):
            bids += (self.bid + 1, 0)

    def _change(self, side: dict[int, int], touch: int, step: int) -> tuple[int, int]:
        if self.random.random() < FAR:
            ticks = touch + step * self.random.randrange(self.span)
        else:
            ticks = touch + step * int(self.random.expovariate(1 / NEAR_MEAN))
        lots = 0 if ticks in side and self.random.random() < 0.2 else self._lots()
        if lots:
            side[ticks] = lots
        else:
            del side[ticks]
        return ticks, lots


def script(flows: list[Flow], updates: int, changes: int, seed: int) -> NDArray[np.int64]:
    """``updates`` updates over the flows in random order, for ``mdstream._core.bench.apply_script``."""
    order = random.Random(seed)
    numbers: list[int] = []
    for _ in range(updates):
        index = order.randrange(len(flows))
        bids, asks = flows[index].update(changes)
        numbers += (index, len(bids) // 2, len(asks) // 2, *bids, *asks)
    return np.array(numbers, dtype=np.int64)
