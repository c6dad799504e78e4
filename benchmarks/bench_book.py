"""The book inside the core, and its feed: ``python -m pytest benchmarks/bench_book.py``.

The level changes are like those of real books: most near the touch, a tenth far from it, with a moving mid price. A round runs a
fixed script on newly loaded books. The extra column ``ns`` is the best round's time per level change (or per unit in the
benchmark's name).
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mdstream._bench.book_loops import apply_script, conflate
from mdstream._core.base.decimals import parse_levels
from mdstream._core.codec.feed_encoder import pack_book, pack_snap
from mdstream._core.fanout.instrument import Instrument
from mdstream._core.orderbook.book import Book

LEVELS = 950
"""Levels a side."""

CHANGES = 10
"""Level changes in an update."""

EPOCH = 1_723_075_200_000_000
FAR = 0.10
"""Share of changes anywhere in the book; the others decrease geometrically from the touch."""

NEAR_MEAN = 4
"""Mean distance of the others from the touch, in ticks."""


class Flow:
    """One instrument's book as dictionaries, with about ``levels`` levels on each side, and the changes to it."""

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
        """Moves the mid price by a tick, and deletes the level there."""
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
    """``updates`` updates over the flows in random order, for ``apply_script``."""
    order = random.Random(seed)
    numbers: list[int] = []
    for _ in range(updates):
        index = order.randrange(len(flows))
        bids, asks = flows[index].update(changes)
        numbers += (index, len(bids) // 2, len(asks) // 2, *bids, *asks)
    return np.array(numbers, dtype=np.int64)


# ---- the book


@cache
def market(
    instruments: int, updates: int, changes: int, levels: int = LEVELS
) -> tuple[list[Any], NDArray[np.int64]]:
    """Snapshots of the instruments, and a script for them."""
    flows = [Flow(levels, seed) for seed in range(instruments)]
    return [flow.snapshot() for flow in flows], script(flows, updates, changes, seed=5)


def loaded(snapshots: list[Any]) -> list[Book]:
    books = [Book("SIM:X") for _ in snapshots]
    for book, (bids, asks) in zip(books, snapshots, strict=True):
        book.load(EPOCH, 0, 0, bids, asks)
    return books


def measure(benchmark: Any, count: int, setup: Callable[[], Any], work: Callable[..., Any]) -> None:
    benchmark.pedantic(work, setup=setup, rounds=9, warmup_rounds=1)
    if benchmark.stats is not None:
        benchmark.extra_info["ns"] = round(benchmark.stats.stats.min * 1e9 / count, 1)


@pytest.mark.parametrize("levels", [50, 475, 950, 5_000])
def test_apply_to_one_book(benchmark: Any, levels: int) -> None:
    snapshots, numbers = market(1, 20_000, CHANGES, levels)
    measure(benchmark, 20_000 * CHANGES, lambda: ((loaded(snapshots), numbers), {}), apply_script)


@pytest.mark.parametrize("instruments", [20, 200])
def test_apply_to_many_books(benchmark: Any, instruments: int) -> None:
    snapshots, numbers = market(instruments, 20_000, CHANGES)
    measure(benchmark, 20_000 * CHANGES, lambda: ((loaded(snapshots), numbers), {}), apply_script)


def test_apply_single_changes(benchmark: Any) -> None:
    snapshots, numbers = market(1, 100_000, 1)
    measure(benchmark, 100_000, lambda: ((loaded(snapshots), numbers), {}), apply_script)


@pytest.mark.parametrize("depth", [1, 20, 100])
def test_apply_and_diff_the_top_per_update(benchmark: Any, depth: int) -> None:
    snapshots, numbers = market(1, 20_000, CHANGES)
    measure(benchmark, 20_000, lambda: ((loaded(snapshots), numbers, depth), {}), apply_script)


@pytest.mark.parametrize("updates", [1, 10, 100, 1_600])
def test_conflate_per_log_entry(benchmark: Any, updates: int) -> None:
    snapshots, numbers = market(1, 20_000, CHANGES)
    [book] = loaded(snapshots)
    apply_script([book], numbers)
    rounds = max(1, 2_000 // updates)
    measure(benchmark, rounds * updates * CHANGES, lambda: ((book, book.seq - updates, rounds), {}), conflate)


@cache
def recording() -> tuple[list[Any], NDArray[np.int64]]:
    """A Binance recording as a snapshot and a script: most of its changes are far from the touch, on sparse prices."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("MDSTREAM_DATA") or root / ".." / "shared" / "data")
    files = sorted((folder / "binance_spot_btcusdt").glob("*.gz"))
    if not files:
        pytest.skip(f"no recorded data in {folder}; set MDSTREAM_DATA to where it is")
    snapshot: dict[str, Any] = {}
    diffs = []
    with gzip.open(files[0], "rt") as lines:
        for line in lines:
            message = json.loads(line.partition(" ")[2])
            if "lastUpdateId" in message:
                snapshot = message
            elif "@depth" in message["stream"]:
                diffs.append(message["data"])
    numbers: list[int] = []
    for diff in diffs:
        if diff["u"] > snapshot["lastUpdateId"]:
            numbers += (
                0,
                len(diff["b"]),
                len(diff["a"]),
                *parse_levels(diff["b"], -2, -8),
                *parse_levels(diff["a"], -2, -8),
            )
    return [tuple(parse_levels(snapshot[side], -2, -8) for side in ("bids", "asks"))], np.array(
        numbers, dtype=np.int64
    )


def test_apply_a_recorded_feed(benchmark: Any) -> None:
    snapshots, numbers = recording()
    changes = apply_script(loaded(snapshots), numbers)
    measure(benchmark, changes, lambda: ((loaded(snapshots), numbers), {}), apply_script)


# ---- from the bus


def payloads(updates: int, changes: int) -> tuple[bytes, list[bytes]]:
    flow = Flow(LEVELS, 1)
    snap = pack_snap(EPOCH, 0, 0, *flow.snapshot())
    return snap, [
        pack_book(EPOCH, number, number, EPOCH + number, *flow.update(changes))
        for number in range(1, updates + 1)
    ]


def take_all(instrument: Instrument, messages: list[bytes]) -> None:
    take = instrument.take_book
    for message in messages:
        take(message)


@pytest.mark.parametrize("batched", [False, True], ids=["one_a_message", "one_message"])
@pytest.mark.parametrize("changes", [1, 5, 50])
def test_decode_and_apply_per_update(benchmark: Any, changes: int, batched: bool) -> None:
    updates = 50_000 // changes
    snap, messages = payloads(updates, changes)
    messages = [b"".join(messages)] if batched else messages

    def setup() -> Any:
        instrument = Instrument("SIM:X", -2, -8)
        instrument.load_snap(snap)
        return (instrument, messages), {}

    measure(benchmark, updates, setup, take_all)


@pytest.mark.parametrize("kind", ["list", "array"])
def test_apply_from_python_per_update(benchmark: Any, kind: str) -> None:
    flow = Flow(LEVELS, 1)
    snapshot = flow.snapshot()
    convert: Any = list if kind == "list" else lambda numbers: np.array(numbers, dtype=np.int64)
    updates = [tuple(map(convert, flow.update(CHANGES))) for _ in range(5_000)]

    def apply_all(book: Book) -> None:
        for number, (bids, asks) in enumerate(updates, 1):
            book.apply(number, number, 0, bids, asks)

    measure(benchmark, len(updates), lambda: ((loaded([snapshot])[0],), {}), apply_all)
