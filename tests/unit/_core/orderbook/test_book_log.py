"""The change log and the views: what it reaches, what it forgets, and how levels are summed and cut."""

from __future__ import annotations

import pytest

from mdstream._core.orderbook.book import Book
from mdstream.model import MAX_NUMBER


def counting_book(updates: int, log_capacity: int = 16384) -> Book:
    """Number n set bid n to size n: one change an update."""
    book = Book("SIM:X", log_capacity=log_capacity)
    for number in range(1, updates + 1):
        book.apply(number, number, 0, [number, number], [])
    return book


def test_delta_holds_each_level_once_with_its_newest_size() -> None:
    book = Book("SIM:X")
    book.apply(1, 1, 0, [10, 1, 9, 1], [12, 1])
    book.apply(2, 2, 0, [10, 2], [12, 0])
    book.apply(3, 3, 0, [10, 3], [13, 5])
    assert book.delta(1) == ([10, 3], [12, 0, 13, 5])
    assert book.delta(1, 2) == ([10, 2], [12, 0])
    assert book.delta(0, 2) == ([10, 2, 9, 1], [])
    assert book.delta(3) == ([], [])


def test_delta_leaves_out_what_ended_as_it_began() -> None:
    book = Book("SIM:X")
    book.apply(1, 1, 0, [10, 1], [])
    book.apply(2, 2, 0, [10, 5, 9, 1], [])
    book.apply(3, 3, 0, [10, 1, 9, 0], [])
    assert book.delta(1) == ([], [])
    assert book.delta(1, 2) == ([10, 5, 9, 1], [])


def test_only_where_an_update_ended_can_be_begun_from() -> None:
    book = Book("SIM:X")
    book.apply(1, 3, 0, [10, 1], [])
    book.apply(4, 7, 0, [10, 2], [])
    assert [number for number in range(10) if book.keeps(number)] == [0, 3, 7]
    assert book.delta(2) is None
    assert book.delta(0, 5) is None
    assert book.delta(7, 3) is None
    assert book.view(at=5) is None
    assert book.delta(8) is None


def test_log_forgets_the_oldest_updates_beyond_its_capacity() -> None:
    book = counting_book(20, log_capacity=8)
    assert [number for number in range(25) if book.keeps(number)] == list(range(12, 21))
    assert book.delta(12) == ([n for number in range(13, 21) for n in (number, number)], [])
    assert book.delta(11) is None
    assert book.view(at=12) == ([n for number in range(12, 0, -1) for n in (number, number)], [])
    assert book.view(at=11) is None


def test_log_forgets_whole_updates_only() -> None:
    book = Book("SIM:X", log_capacity=5)
    book.apply(1, 1, 0, [1, 1, 2, 1, 3, 1], [])
    book.apply(2, 2, 0, [4, 1, 5, 1], [])
    assert book.keeps(0)
    book.apply(3, 3, 0, [6, 1], [])
    assert [number for number in range(4) if book.keeps(number)] == [1, 2, 3]


def test_updates_without_changes_are_bounded_too() -> None:
    book = Book("SIM:X", log_capacity=4)
    for number in range(1, 101):
        book.apply(number, number, 0, [], [])
    assert [number for number in range(101) if book.keeps(number)] == [96, 97, 98, 99, 100]


def test_update_greater_than_the_log_leaves_it_empty() -> None:
    book = Book("SIM:X", log_capacity=4)
    book.apply(1, 1, 0, [1, 1], [])
    book.apply(2, 2, 0, [n for ticks in range(2, 8) for n in (ticks, 1)], [])
    assert [number for number in range(3) if book.keeps(number)] == [2]
    book.apply(3, 3, 0, [9, 1], [])
    assert book.delta(2) == ([9, 1], [])
    assert len(book) == 8


@pytest.mark.parametrize("log_capacity", [1, 3, 64, 100, 128])
def test_view_of_any_number_while_the_log_grows_and_wraps(log_capacity: int) -> None:
    updates = 3 * log_capacity + 70
    book = counting_book(updates, log_capacity)
    assert not book.keeps(updates - log_capacity - 1)
    for number in range(updates - log_capacity + log_capacity // 64, updates + 1):
        assert book.view(at=number, depth=2) == ([number, number, number - 1, number - 1], [])


def test_refused_update_leaves_what_a_full_log_holds() -> None:
    book = counting_book(8, log_capacity=8)
    book.apply(9, 9, 0, [], [20, 1])
    before = [book.delta(number) for number in range(1, 10)]
    for _ in range(3):
        with pytest.raises(Exception, match="would cross"):
            book.apply(10, 10, 0, [1, 9, 2, 9, 3, 9, 25, 1], [])
    assert [book.delta(number) for number in range(1, 10)] == before
    assert None not in before[1:]


# ---- views


@pytest.fixture
def deep() -> Book:
    book = Book("SIM:X")
    book.load(1, 1, 0, [19, 1, 18, 2, 11, 3, 10, 4, 9, 5, -1, 6, -10, 7], [20, 1, 21, 2, 30, 3, 31, 4])
    return book


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth_cuts_both_sides(deep: Book, depth: int) -> None:
    bids, asks = deep.view() or ([], [])
    assert deep.view(depth=depth) == (bids[: 2 * depth], asks[: 2 * depth])
    assert deep.view(depth=100) == (bids, asks)


def test_groups_round_bids_down_and_asks_up(deep: Book) -> None:
    assert deep.view(group=10) == ([10, 10, 0, 5, -10, 13], [20, 1, 30, 5, 40, 4])
    assert deep.view(group=7) == ([14, 3, 7, 12, -7, 6, -14, 7], [21, 3, 35, 7])


def test_groups_of_negative_asks_round_up() -> None:
    book = Book("SIM:X")
    book.load(1, 1, 0, [-30, 1], [-21, 1, -20, 2, -19, 3, -1, 4, 0, 5, 1, 6])
    assert book.view(group=10) == ([-30, 1], [-20, 3, -10, 3, 0, 9, 10, 6])


def test_depth_counts_what_remains_after_grouping(deep: Book) -> None:
    assert deep.view(depth=2, group=10) == ([10, 10, 0, 5], [20, 1, 30, 5])


def test_sum_of_a_bucket_stays_at_the_greatest_number() -> None:
    book = Book("SIM:X")
    book.load(1, 1, 0, [3, MAX_NUMBER, 2, MAX_NUMBER, 1, 1], [5, MAX_NUMBER - 1, 6, 1])
    assert book.view(group=10) == ([0, MAX_NUMBER], [10, MAX_NUMBER])


def test_bucket_beyond_the_greatest_number_is_named_by_it() -> None:
    book = Book("SIM:X")
    book.load(1, 1, 0, [0, 1, -MAX_NUMBER, 2], [1, 3, MAX_NUMBER, 4])
    assert book.view(group=10) == ([0, 1, -MAX_NUMBER, 2], [10, 3, MAX_NUMBER, 4])
    assert book.view(group=MAX_NUMBER) == ([0, 1, -MAX_NUMBER, 2], [MAX_NUMBER, 7])


def test_delta_of_a_cut_view_names_what_leaves_and_what_rises(deep: Book) -> None:
    deep.apply(2, 2, 0, [19, 0], [19, 9])
    assert deep.delta(1, depth=2) == ([19, 0, 11, 3], [19, 9, 21, 0])
    assert deep.delta(1, depth=1, group=10) == ([10, 9], [20, 10])


def test_change_below_the_cut_is_no_change(deep: Book) -> None:
    deep.apply(2, 2, 0, [9, 500], [])
    assert deep.delta(1, depth=3) == ([], [])


@pytest.mark.parametrize("view", [{"depth": -1}, {"group": 0}, {"group": -5}, {"group": 2**53}])
def test_impossible_views_are_refused(deep: Book, view: dict[str, int]) -> None:
    for method in (deep.view, deep.crc, deep.arrays):
        with pytest.raises(ValueError, match=next(iter(view))):
            method(**view)
    with pytest.raises(ValueError, match=next(iter(view))):
        deep.delta(1, **view)
