"""Orders of AAPL become level changes, and the ten best levels are the recording's own after each of them.

LOBSTER keeps only what touches ten levels, so a level that scrolls in is taken from the reference, as its documentation says one must.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mdstream._core.fanout.instrument import Instrument, Outcome
from mdstream.feed import InstrumentWriter
from mdstream.model import InstrumentId, Ref

DATA = Path(os.environ.get("MDSTREAM_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")
MESSAGES = DATA / "lobster_aapl" / "AAPL_2012-06-21_34200000_57600000_message_10.csv"
BOOKS = DATA / "lobster_aapl" / "AAPL_2012-06-21_34200000_57600000_orderbook_10.csv"

pytestmark = pytest.mark.skipif(not BOOKS.exists(), reason=f"no recorded data at {DATA} (MDSTREAM_DATA)")

DEPTH = 10
NEW, PART_CANCELLED, DELETED, EXECUTED, HIDDEN_EXECUTED = 1, 2, 3, 4, 5
BID, ASK = 1, -1
MIDNIGHT_US = 1_340_251_200_000_000
"""2012-06-21 00:00 in New York."""

Side = dict[int, int]


@dataclass(frozen=True)
class Order:
    """One message; ``side`` is that of the resting order."""

    ts_us: int
    type: int
    shares: int
    price: int
    side: int


def orders() -> list[Order]:
    with MESSAGES.open(newline="") as rows:
        return [
            Order(MIDNIGHT_US + round(float(time) * 1e6), int(type), int(shares), int(price), int(side))
            for time, type, _, shares, price, side in csv.reader(rows)
        ]


def books() -> Iterator[tuple[list[int], list[int]]]:
    """Bids and asks, flat and best first, after each message."""
    with BOOKS.open(newline="") as rows:
        for row in csv.reader(rows):
            levels = [list(map(int, row[i : i + 4])) for i in range(0, len(row), 4)]
            yield (
                [number for level in levels for number in level[2:]],
                [number for level in levels for number in level[:2]],
            )


class Levels:
    """The ten best levels of both sides, kept by orders."""

    def __init__(self, bids: list[int], asks: list[int]) -> None:
        self._sides: dict[int, Side] = {BID: as_side(bids), ASK: as_side(asks)}

    def take(self, order: Order) -> dict[int, Side]:
        """The level changes, by side, that one message makes; what falls beyond the tenth level is deleted by name."""
        changes: dict[int, Side] = {BID: {}, ASK: {}}
        if order.type in (NEW, PART_CANCELLED, DELETED, EXECUTED):
            levels = self._sides[order.side]
            change = order.shares if order.type == NEW else -order.shares
            set_level(levels, changes[order.side], order.price, levels.get(order.price, 0) + change)
            for price in self._ranked(order.side)[DEPTH:]:
                set_level(levels, changes[order.side], price, 0)
        return changes

    def scroll_in(self, side: int, reference: Side, changes: dict[int, Side]) -> None:
        """Takes the tenth level from the reference where one above it went, and nothing else."""
        levels = self._sides[side]
        if len(levels) == DEPTH - 1:
            price = sorted(reference, reverse=side == BID)[-1]
            set_level(levels, changes[side], price, reference[price])

    def _ranked(self, side: int) -> list[int]:
        return sorted(self._sides[side], reverse=side == BID)


def as_side(flat: list[int]) -> Side:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def as_flat(levels: Side) -> list[int]:
    return [number for level in levels.items() for number in level]


def set_level(levels: Side, changes: Side, price: int, size: int) -> None:
    assert size >= 0, "more was taken from a level than it held"
    changes[price] = size
    if size:
        levels[price] = size
    else:
        levels.pop(price, None)


def test_orders_become_the_recordings_own_levels_on_both_sides_of_the_bus() -> None:
    reference = list(books())
    writer = InstrumentWriter(
        InstrumentId("NASDAQ", "AAPL"), Ref(price_exp=-4, size_exp=0, tick=100), epoch=1
    )
    reader = Instrument("NASDAQ:AAPL", -4, 0)
    seed = writer.replace_ticks(*reference[0], ts_us=MIDNIGHT_US)
    assert seed is not None
    assert reader.take_book(seed) is Outcome.NEW_EPOCH
    levels = Levels(*reference[0])
    equal = 0
    for order, expected in zip(orders()[1:], reference[1:], strict=True):
        changes = levels.take(order)
        for side, flat in zip((BID, ASK), expected, strict=True):
            levels.scroll_in(side, as_side(flat), changes)
        payload = writer.update_ticks(as_flat(changes[BID]), as_flat(changes[ASK]), order.ts_us)
        assert reader.take_book(payload) is Outcome.APPLIED
        equal += reader.book.view() == expected and writer.book.view() == expected
    assert equal == 998
    assert reader.book.seq == 999
