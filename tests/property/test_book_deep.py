"""Books of hundreds of levels, in which searches take several steps and storage moves: each level stays in its place."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mdstream._core.orderbook.book import Book
from mdstream.errors import BookError


@given(
    seed=st.integers(0, 2**32),
    span=st.sampled_from([10, 60, 400, 3_000, 1_000_000]),
    updates=st.integers(1, 60),
    size=st.sampled_from([1, 7, 40, 300]),
    deletes=st.sampled_from([0.1, 0.4, 0.9]),
)
@example(
    seed=1242, span=10, updates=51, size=300, deletes=0.9
)  # fills the log to its last slot, then deletes
@settings(max_examples=settings().max_examples * 3 // 2, deadline=None)
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
        if chance.random() < 0.3:
            _refuse(book, number, parts, middle + 2 * span)
        book.apply(number, number, 0, *parts)
        past[number] = (_flat(bids, True), _flat(asks, False))
        assert book.view() == past[number]
    for number, view in past.items():
        if book.keeps(number):
            assert book.view(at=number) == view
            assert book.view(at=number, depth=20) == (view[0][:40], view[1][:40])
    for ticks in range(middle - 50, middle + 50):
        assert book.level(1, ticks) == bids.get(ticks, 0)
        assert book.level(2, ticks) == asks.get(ticks, 0)


def _delete(gone: list[int], side: dict[int, int], part: list[int]) -> None:
    for ticks in gone:
        side[ticks] = 0
        part += (ticks, 0)


def _refuse(book: Book, number: int, parts: tuple[list[int], list[int]], above: int) -> None:
    """The same update with a bid above all asks: every change before it must be undone."""
    before = book.view(), book.delta(number - 1), book.delta(0)
    with pytest.raises(BookError, match="would cross"):
        book.apply(number, number, 0, [*parts[0], above, 1], [*parts[1], above, 1])
    assert (book.view(), book.delta(number - 1), book.delta(0)) == before


def _flat(side: dict[int, int], falling: bool) -> list[int]:
    return [number for ticks in sorted(side, reverse=falling) for number in (ticks, side[ticks])]


@pytest.mark.parametrize("in_vain", [0, 1, 5])
def test_deletes_of_missing_levels_after_a_full_log_lose_nothing(in_vain: int) -> None:
    """Deleting a missing level is not a change, so a full log must not drop its oldest entry for it."""
    book = Book("SIM:X", log_capacity=64)
    past = {0: book.view()}
    for number in range(1, 100):
        deletes = [n for ticks in range(1, in_vain + 1) for n in (-ticks, 0)]
        book.apply(number, number, 0, [100, number, 99, 1000 + number, *deletes], [])
        past[number] = book.view()
        for at in filter(book.keeps, past):
            assert book.view(at=at) == past[at]
    assert book.keeps(99 - 30)


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
@pytest.mark.parametrize("side", [1, 2])
def test_levels_come_and_go_in_any_order(order: str, side: int) -> None:
    """One by one to a thousand and back to none, from either end or anywhere: blocks split, merge and disappear."""
    book = Book("SIM:X")
    prices = list(range(1_000))
    if order == "shuffled":
        random.Random(7).shuffle(prices)
    elif order == "falling":
        prices.reverse()
    number = 0
    for lots in (1, 0):
        for ticks in prices:
            number += 1
            update = [ticks, lots * (ticks + 1)]
            book.apply(number, number, 0, *((update, []) if side == 1 else ([], update)))
            assert book.level(side, ticks) == lots * (ticks + 1)
        kept = {ticks: ticks + 1 for ticks in prices if lots}
        assert (book.view() or ([], []))[side - 1] == _flat(kept, side == 1)
        assert len(book) == len(kept)


@pytest.mark.parametrize("side", [1, 2])
def test_any_level_near_the_touch_comes_and_goes_alone(side: int) -> None:
    """Near the touch a fixed number of places moves, in blocks with few levels and in full ones."""
    sign = 1 if side == 1 else -1
    for levels in range(1, 130):
        book = Book("SIM:X")
        kept = {
            2 * sign * i: i + 1 for i in range(levels)
        }  # the best level comes last, so its block fills up
        _set(book, side, kept)
        for near in range(min(levels, 12)):
            between = 2 * sign * (levels - near) - sign
            for change in ({between: 1_000 + near}, {between - sign: 0}, {between: 0}, {between - sign: 5}):
                kept = {ticks: lots for ticks, lots in (kept | change).items() if lots}
                _set(book, side, change)
                assert (book.view() or ([], []))[side - 1] == _flat(kept, side == 1)


def _set(book: Book, side: int, levels: dict[int, int]) -> None:
    update = [number for level in levels.items() for number in level]
    book.apply(book.seq + 1, book.seq + 1, 0, *((update, []) if side == 1 else ([], update)))


def test_books_give_their_memory_back() -> None:
    def fill_and_forget() -> int:
        books = [Book("SIM:X") for _ in range(20)]
        for book in books:
            book.load(1, 0, 0, [n for ticks in range(5_000, 0, -1) for n in (ticks, 1)], [])
            book.apply(1, 1, 0, [n for ticks in range(1, 4_001) for n in (ticks, 0)], [9_000, 1])
            book.view(at=0)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        fill_and_forget()
        empty = tracemalloc.get_traced_memory()[0]
        full = fill_and_forget()
        assert full - empty > 2_000_000
        assert tracemalloc.get_traced_memory()[0] - empty < 100_000
    finally:
        tracemalloc.stop()
