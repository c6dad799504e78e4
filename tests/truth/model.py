"""What an instrument truly was: its book at each number, when each was published, and when nobody may call it ``live``."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

Position = tuple[int, int]
"""Epoch and number."""
Span = tuple[float, float]
Level = tuple[int, int] | None
Exponents = tuple[int, int]


class Levels:
    """A book as two dictionaries. ``mark`` is the sum of its levels: equal books have equal marks, whatever led to them."""

    def __init__(self, bids: Sequence[int] = (), asks: Sequence[int] = ()) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.mark = 0
        self.apply(bids, asks)

    def apply(self, bids: Sequence[int], asks: Sequence[int]) -> None:
        """Flat ticks and lots; 0 lots delete."""
        for side, levels, flat in ((0, self.bids, bids), (1, self.asks, asks)):
            for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
                before = levels.pop(ticks, 0)
                if before:
                    self.mark ^= hash((side, ticks, before))
                if lots:
                    levels[ticks] = lots
                    self.mark ^= hash((side, ticks, lots))

    def best(self) -> tuple[Level, Level]:
        bid, ask = max(self.bids, default=None), min(self.asks, default=None)
        return (
            None if bid is None else (bid, self.bids[bid]),
            None if ask is None else (ask, self.asks[ask]),
        )

    def flat(self) -> tuple[list[int], list[int]]:
        """Both sides, best first."""
        bids = [number for ticks in sorted(self.bids, reverse=True) for number in (ticks, self.bids[ticks])]
        asks = [number for ticks in sorted(self.asks) for number in (ticks, self.asks[ticks])]
        return bids, asks

    def changes_to(self, bids: Sequence[int], asks: Sequence[int]) -> tuple[list[int], list[int]]:
        """The flat changes that lead to a whole book."""
        wanted = Levels(bids, asks)
        pairs = ((self.bids, wanted.bids), (self.asks, wanted.asks))
        gone, come = (
            [[number for level in before.items() if level[0] not in after for number in (level[0], 0)]
             for before, after in pairs],
            [[number for level in after.items() if before.get(level[0]) != level[1] for number in level]
             for before, after in pairs],
        )  # fmt: skip
        return gone[0] + come[0], gone[1] + come[1]


class Truth:
    """One instrument, as its rightful writer published it. Times are monotonic, in seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock: Callable[[], float] = time.monotonic
        self.scales: dict[int, Exponents] = {}
        self.marks: dict[Position, int] = {}
        self.bests: dict[Position, tuple[Level, Level]] = {}
        self.trades: dict[Position, tuple[int, int]] = {}
        self.traded: set[tuple[int, tuple[int, int]]] = set()
        """Epoch, and ticks and lots, of each trade."""
        self.words: list[float] = []
        """When the venue was heard."""
        self.contested: set[int] = set()
        """Epochs with two writers: what is shown of them may be wrong until a reader can know."""
        self._positions: list[Position] = []
        self._times: list[float] = []
        self._doubts: list[tuple[bool, list[float]]] = []

    @property
    def newest(self) -> Position:
        return self._positions[-1] if self._positions else (0, 0)

    def begin(self, epoch: int, scale: Exponents, *, word: bool = True) -> None:
        """A new epoch is announced: its book at 0 has nothing to show, and nothing older is true any more."""
        self.scales[epoch] = scale
        self.publish(epoch, 0, Levels(), word=word)

    def publish(self, epoch: int, seq: int, levels: Levels, *, word: bool = True) -> None:
        """The book that has the number; ``word``: the venue was heard by it."""
        position = epoch, seq
        self.marks[position] = levels.mark
        self.bests[position] = levels.best()
        if (
            position > self.newest
        ):  # a writer that is being replaced may still be shown, but supersedes nothing
            self._positions.append(position)
            self._times.append(self.clock())
        if word:
            self.word()

    def trade(self, epoch: int, seq: int, ticks: int, lots: int, *, word: bool = True) -> None:
        self.trades[epoch, seq] = ticks, lots
        self.traded.add((epoch, (ticks, lots)))
        if word:
            self.word()

    def word(self) -> None:
        self.words.append(self.clock())

    def superseded(self, shown: Position) -> float:
        """When something newer than this was published; infinity if nothing was."""
        index = bisect_right(self._positions, shown)
        return self._times[index] if index < len(self._times) else float("inf")

    # ---- when it may not be called live

    def doubt(self, *, trades: bool = True) -> None:
        """From now on ``live`` is not true: the venue is down, or readers can know that the book (or ``trades`` too) is wrong."""
        self._doubts.append((trades, [self.clock()]))

    def settle(self) -> None:
        """From now on ``live`` is true again."""
        self._doubts[-1][1].append(self.clock())

    @contextmanager
    def doubted(self, *, trades: bool = True) -> Iterator[None]:
        self.doubt(trades=trades)
        try:
            yield
        finally:
            self.settle()

    def doubts(self, bound_s: float, end: float, *, trades: bool) -> list[Span]:
        """When ``live`` was a lie because of a doubt, for the book or for trades."""
        return [
            (since + bound_s, until[0] if until else end)
            for concerns_trades, (since, *until) in self._doubts
            if concerns_trades or not trades
        ]

    def silences(self, bound_s: float, end: float) -> list[Span]:
        """When the venue's last word was older than the bound."""
        words = [*self.words, end]
        return [
            (word + bound_s, following) for word, following in pairwise(words) if following - word > bound_s
        ]
