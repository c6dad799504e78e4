"""The book: updates are atomic, refusals name the place, Python numbers and arrays come and go unchanged."""

from __future__ import annotations

import zlib
from array import array
from typing import Any

import numpy as np
import pytest

from mdstream._core.orderbook.book import Book
from mdstream.errors import BookError
from mdstream.model import MAX_NUMBER


@pytest.fixture
def book() -> Book:
    """Bids 99 and 98, asks 101 and 103, at number 5 of epoch 7."""
    book = Book("SIM:X")
    book.load(7, 5, 1_000, [99, 10, 98, 20], [101, 30, 103, 40])
    return book


def test_new_book_is_number_0_of_no_epoch() -> None:
    book = Book("SIM:X")
    assert (book.instrument, book.epoch, book.seq, book.ts_us, len(book)) == ("SIM:X", 0, 0, 0, 0)
    assert book.view() == ([], [])
    assert book.best() == (None, None)
    assert book.keeps(0)


def test_update_sets_inserts_and_deletes_levels(book: Book) -> None:
    book.apply(6, 8, 2_000, [99, 11, 97, 5, 98, 0], [102, 1])
    assert book.view() == ([99, 11, 97, 5], [101, 30, 102, 1, 103, 40])
    assert (book.seq, book.ts_us, book.epoch, len(book)) == (8, 2_000, 7, 5)


def test_last_of_several_entries_for_one_price_counts(book: Book) -> None:
    book.apply(6, 6, 0, [99, 1, 99, 0, 99, 7], [101, 5, 101, 0])
    assert book.view() == ([99, 7, 98, 20], [103, 40])


def test_entry_that_an_update_takes_back_does_not_cross(book: Book) -> None:
    book.apply(6, 6, 0, [105, 1, 105, 0], [])
    assert book.view() == ([99, 10, 98, 20], [101, 30, 103, 40])


def test_deleting_a_level_that_is_not_there_changes_nothing(book: Book) -> None:
    book.apply(6, 6, 0, [50, 0], [500, 0])
    assert book.delta(5) == ([], [])
    assert book.seq == 6


def test_bid_may_rise_to_where_an_ask_is_deleted_in_the_same_update(book: Book) -> None:
    book.apply(6, 6, 0, [101, 3], [101, 0])
    assert book.best() == ((101, 3), (103, 40))


def test_ask_may_fall_to_where_bids_are_deleted_in_the_same_update(book: Book) -> None:
    book.apply(6, 6, 0, [99, 0, 98, 0], [90, 3])
    assert book.best() == (None, (90, 3))


def test_negative_ticks_stand_in_order() -> None:
    book = Book("SIM:X")
    book.apply(1, 1, 0, [-5, 1, -7, 2, 0, 3], [4, 1, 2, 2, 1, 3])
    assert book.view() == ([0, 3, -5, 1, -7, 2], [1, 3, 2, 2, 4, 1])
    assert book.level(1, -7) == 2
    assert book.level(2, 4) == 1


def test_extreme_numbers_are_kept() -> None:
    book = Book("SIM:X")
    book.apply(1, 1, 0, [-MAX_NUMBER, MAX_NUMBER], [MAX_NUMBER, MAX_NUMBER])
    assert book.view() == ([-MAX_NUMBER, MAX_NUMBER], [MAX_NUMBER, MAX_NUMBER])
    assert book.view(at=0) == ([], [])
    assert book.delta(0) == book.view()


# ---- refusals

REFUSED: list[tuple[list[int], list[int], str]] = [
    (
        [101, 5],
        [],
        "update 6..6 would cross the book: best bid 101 ticks (5 lots) is not below best ask 101 ticks (30 lots)",
    ),
    ([], [98, 5], "best bid 99 ticks (10 lots) is not below best ask 98 ticks (5 lots)"),
    ([102, 1], [102, 2], "best bid 102 ticks (1 lots) is not below best ask 101 ticks (30 lots)"),
    ([97, 5, 96, -1], [], "update 6..6: bid 1 is 96 ticks, -1 lots"),
    ([], [104, MAX_NUMBER + 1], f"ask 0 is 104 ticks, {MAX_NUMBER + 1} lots"),
    ([-MAX_NUMBER - 1, 1], [], f"bid 0 is {-MAX_NUMBER - 1} ticks, 1 lots"),
    ([], [MAX_NUMBER + 1, 0], f"ask 0 is {MAX_NUMBER + 1} ticks, 0 lots"),
    ([2**63 - 1, 1], [], f"bid 0 is {2**63 - 1} ticks, 1 lots"),
    ([-(2**63), 1], [], f"bid 0 is {-(2**63)} ticks, 1 lots"),
    ([1, -(2**63)], [], f"bid 0 is 1 ticks, {-(2**63)} lots"),
    ([2**64, 1], [], "a number of ticks or lots is beyond"),
]


@pytest.mark.parametrize(("bids", "asks", "message"), REFUSED)
def test_refused_update_names_the_place_and_changes_nothing(
    book: Book, bids: list[int], asks: list[int], message: str
) -> None:
    before = book.view(), book.seq, book.ts_us, book.delta(5)
    with pytest.raises(BookError) as caught:
        book.apply(6, 6, 2_000, bids, asks)
    assert str(caught.value).startswith("SIM:X ")
    assert message in str(caught.value)
    assert (book.view(), book.seq, book.ts_us, book.delta(5)) == before
    assert not book.keeps(6)


def test_all_of_a_refused_update_is_taken_back(book: Book) -> None:
    book.apply(6, 6, 0, [98, 21], [])
    before = book.view(), book.delta(5)
    with pytest.raises(BookError, match="best bid 105 ticks"):
        book.apply(7, 7, 0, [99, 0, 98, 1, 99, 5, 97, 8, 105, 1, 97, 0], [101, 0, 103, 1, 104, 9])
    assert (book.view(), book.delta(5)) == before


@pytest.mark.parametrize(("first", "last"), [(5, 5), (4, 5), (1, 3), (8, 7)])
def test_update_that_does_not_lead_on_is_refused(book: Book, first: int, last: int) -> None:
    with pytest.raises(BookError, match=rf"SIM:X update {first}\.\.{last} does not lead on from 5"):
        book.apply(first, last, 0, [1, 1], [])
    assert (book.seq, book.level(1, 1)) == (5, 0)


def test_update_that_overlaps_leads_on(book: Book) -> None:
    book.apply(3, 6, 0, [99, 12], [])
    assert (book.seq, book.level(1, 99)) == (6, 12)


def test_too_deep_is_refused_and_taken_back() -> None:
    book = Book("SIM:X", max_levels=3)
    book.apply(1, 1, 0, [1, 1, 2, 1, 3, 1], [4, 1])
    with pytest.raises(
        BookError, match=r"SIM:X update 2\.\.2: 4 bids and 1 asks would be more than 3 levels a side"
    ):
        book.apply(2, 2, 0, [0, 1], [4, 9])
    assert book.view() == ([3, 1, 2, 1, 1, 1], [4, 1])
    assert book.keeps(0)


def test_deepest_book_may_be_exchanged_wholly() -> None:
    book = Book("SIM:X", max_levels=3)
    book.apply(1, 1, 0, [1, 1, 2, 1, 3, 1], [])
    book.apply(2, 2, 0, [4, 1, 5, 1, 6, 1, 1, 0, 2, 0, 3, 0], [])
    assert book.view() == ([6, 1, 5, 1, 4, 1], [])


def test_update_beyond_any_exchange_is_refused_at_once() -> None:
    book = Book("SIM:X", max_levels=2)
    with pytest.raises(
        BookError, match="5 bids and 0 asks are too many for a book of at most 2 levels a side"
    ):
        book.apply(1, 1, 0, [1, 0] * 5, [])


# ---- snapshots


def test_snapshot_replaces_everything_and_empties_the_log(book: Book) -> None:
    book.apply(6, 6, 0, [97, 1], [])
    book.load(8, 2, 3_000, [7, 1], [9, 2, 10, 3])
    assert book.view() == ([7, 1], [9, 2, 10, 3])
    assert (book.epoch, book.seq, book.ts_us) == (8, 2, 3_000)
    assert book.keeps(2)
    assert not book.keeps(5)
    assert not book.keeps(6)
    assert book.delta(2) == ([], [])


@pytest.mark.parametrize(
    ("bids", "asks", "message"),
    [
        (
            [5, 1, 6, 1],
            [],
            "snapshot 9: bid 1 at 6 ticks does not follow 5; levels stand best first, each once",
        ),
        ([5, 1, 5, 1], [], "bid 1 at 5 ticks does not follow 5"),
        ([], [6, 1, 5, 1], "ask 1 at 5 ticks does not follow 6"),
        ([5, 0], [], "snapshot 9: bid 0 at 5 ticks has size 0"),
        ([], [5, -1], "snapshot 9: ask 0 is 5 ticks, -1 lots"),
        (
            [5, 1],
            [5, 2],
            "snapshot 9 would cross the book: best bid 5 ticks (1 lots) is not below best ask 5 ticks (2 lots)",
        ),
        ([MAX_NUMBER + 1, 1], [], f"bid 0 is {MAX_NUMBER + 1} ticks"),
        ([4, 1, 3, 1, 2, 1, 1, 1], [], "snapshot 9: 4 bids are more than 3 levels a side"),
    ],
)
def test_refused_snapshot_names_the_place_and_changes_nothing(
    bids: list[int], asks: list[int], message: str
) -> None:
    book = Book("SIM:X", max_levels=3)
    book.load(7, 5, 1_000, [99, 10], [101, 30])
    book.apply(6, 6, 1_000, [98, 1], [])
    with pytest.raises(BookError) as caught:
        book.load(8, 9, 0, bids, asks)
    assert str(caught.value).startswith("SIM:X ")
    assert message in str(caught.value)
    assert (book.epoch, book.seq, book.view()) == (7, 6, ([99, 10, 98, 1], [101, 30]))
    assert book.delta(5) == ([98, 1], [])


def test_reset_empties_the_book_and_its_log(book: Book) -> None:
    book.apply(6, 6, 0, [97, 1], [])
    book.reset(8)
    assert (book.epoch, book.seq, book.ts_us, len(book), book.view()) == (8, 0, 0, 0, ([], []))
    assert not book.keeps(5)
    book.apply(1, 1, 5, [1, 1], [])
    assert book.delta(0) == ([1, 1], [])


# ---- Python numbers


@pytest.mark.parametrize(
    "flat",
    [
        [99, 11, 97, 5],
        (99, 11, 97, 5),
        np.array([99, 11, 97, 5], dtype=np.int64),
        np.array([[99, 11], [97, 5]], dtype=np.int64),
        np.array([99, 11, 97, 5], dtype=np.int32),
        np.array([99, 0, 11, 0, 97, 0, 5, 0], dtype=np.int64)[::2],
        np.array([97, 5, 99, 11], dtype=np.int64).reshape(2, 2)[::-1],
        np.array([[99, 97], [11, 5]], dtype=np.int64).T,
        array("q", [99, 11, 97, 5]),
        [np.int64(99), np.int64(11), 97, 5],
    ],
    ids=[
        "list",
        "tuple",
        "flat array",
        "n x 2 array",
        "int32 array",
        "strided array",
        "reversed n x 2 array",
        "transposed array",
        "array module",
        "numpy integers",
    ],
)
def test_levels_are_taken_from_sequences_and_arrays(book: Book, flat: Any) -> None:
    book.apply(6, 6, 0, flat, np.empty(0, dtype=np.int64))
    assert book.view() == ([99, 11, 98, 20, 97, 5], [101, 30, 103, 40])


@pytest.mark.parametrize(
    ("flat", "error"),
    [
        ([1], ValueError),
        ([1, 2, 3], ValueError),
        (np.array([1, 2, 3], dtype=np.int64), ValueError),
        (np.zeros((2, 3), dtype=np.int64), ValueError),
        (np.zeros((1, 1, 2), dtype=np.int64), ValueError),
        (np.zeros(2, dtype=np.float64), TypeError),
        ([1.0, 2], TypeError),
        (["1", 2], TypeError),
        ([None, 2], TypeError),
        (5, TypeError),
    ],
)
def test_what_is_no_run_of_levels_is_refused(book: Book, flat: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        book.apply(6, 6, 0, [], flat)
    assert (book.seq, book.view()) == (5, ([99, 10, 98, 20], [101, 30, 103, 40]))


def test_arrays_are_copies_of_the_view(book: Book) -> None:
    bids, asks = book.arrays()
    assert bids.tolist() == [[99, 10], [98, 20]]
    assert asks.tolist() == [[101, 30], [103, 40]]
    assert bids.dtype == asks.dtype == np.int64
    bids[0, 0] = 5
    assert book.level(1, 99) == 10
    assert [side.tolist() for side in book.arrays(depth=1, group=10)] == [[[90, 30]], [[110, 70]]]
    assert [side.shape for side in Book("SIM:X").arrays()] == [(0, 2), (0, 2)]


def test_level_is_0_where_there_is_none(book: Book) -> None:
    assert (book.level(1, 99), book.level(2, 103), book.level(2, 99), book.level(1, 2**60)) == (10, 40, 0, 0)
    with pytest.raises(ValueError, match="side must be 1"):
        book.level(0, 99)


def test_diff_to_leads_to_the_book_given(book: Book) -> None:
    bids, asks = book.diff_to([100, 1, 99, 10], [101, 31, 102, 2, 103, 40])
    assert (bids, asks) == ([100, 1, 98, 0], [101, 31, 102, 2])
    book.apply(6, 6, 0, bids, asks)
    assert book.view() == ([100, 1, 99, 10], [101, 31, 102, 2, 103, 40])


def test_diff_to_what_is_no_book_is_refused(book: Book) -> None:
    with pytest.raises(BookError, match="does not follow"):
        book.diff_to([1, 1, 2, 1], [])
    with pytest.raises(BookError, match="would cross"):
        book.diff_to([5, 1], [4, 1])


def test_checksum_is_that_of_the_contract(book: Book) -> None:
    assert book.crc() == zlib.crc32(b"99:10:101:30:98:20:103:40")
    assert book.crc(depth=1) == zlib.crc32(b"99:10:101:30")
    assert book.crc(group=10) == zlib.crc32(b"90:30:110:70")
    assert Book("SIM:X").crc() == zlib.crc32(b"")
    one_sided = Book("SIM:X")
    one_sided.load(1, 1, 0, [number for ticks in range(0, -12, -1) for number in (ticks, 5)], [3, 1])
    text = "0:5:3:1:" + ":".join(f"{ticks}:5" for ticks in range(-1, -10, -1))
    assert one_sided.crc() == zlib.crc32(text.encode())


@pytest.mark.parametrize(
    "limits", [{"log_capacity": 0}, {"log_capacity": 2**25}, {"max_levels": 0}, {"max_levels": -1}]
)
def test_impossible_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        Book("SIM:X", **limits)


def test_instrument_must_be_text() -> None:
    with pytest.raises(TypeError):
        Book(None)  # type: ignore[arg-type]
