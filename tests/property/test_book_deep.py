"""Books of hundreds of levels: where searches stride and halve, and storage moves, levels stay where they belong."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mdstream._core.book import Book


@given(
    seed=st.integers(0, 2**32),
    span=st.sampled_from([10, 60, 400, 3_000, 1_000_000]),
    updates=st.integers(1, 60),
    size=st.sampled_from([1, 7, 40, 300]),
    deletes=st.sampled_from([0.1, 0.4, 0.9]),
)
@settings(max_examples=150, deadline=None)
def test_deep_book_is_a_pair_of_dictionaries(
    seed: int, span: int, updates: int, size: int, deletes: float
) -> None:
    chance = random.Random(seed)
    book = Book("SIM:X", log_capacity=1024)
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    middle = 0
    past = {}
    for number in range(1, updates + 1):
        middle += chance.randrange(-3, 4)
        parts: tuple[list[int], list[int]] = ([], [])
        _delete([ticks for ticks in bids if ticks >= middle], bids, parts[0])
        _delete([ticks for ticks in asks if ticks <= middle], asks, parts[1])
        for _ in range(size):
            side, sign, part = chance.choice(((bids, -1, parts[0]), (asks, 1, parts[1])))
            ticks = middle + sign * (1 + min(chance.randrange(span), chance.randrange(span)))
            lots = 0 if chance.random() < deletes else chance.randrange(1, 100)
            side[ticks] = lots
            part += (ticks, lots)
        for side in (bids, asks):
            for ticks in [ticks for ticks, lots in side.items() if not lots]:
                del side[ticks]
        book.apply(number, number, 0, *parts)
        past[number] = (_flat(bids, True), _flat(asks, False))
        assert book.view() == past[number]
    for number, view in past.items():
        if book.reaches(number):
            assert book.view(at=number) == view
            assert book.view(at=number, depth=20) == (view[0][:40], view[1][:40])
    for ticks in range(middle - 50, middle + 50):
        assert book.level(1, ticks) == bids.get(ticks, 0)
        assert book.level(2, ticks) == asks.get(ticks, 0)


def _delete(gone: list[int], side: dict[int, int], part: list[int]) -> None:
    for ticks in gone:
        side[ticks] = 0
        part += (ticks, 0)


def _flat(side: dict[int, int], falling: bool) -> list[int]:
    return [number for ticks in sorted(side, reverse=falling) for number in (ticks, side[ticks])]
