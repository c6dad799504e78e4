"""Scales that hold a venue's sizes, and sizes rounded to them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.errors import FeedError
from mdstream.feed import size_exp_for
from mdstream.feed.sizes import coarser_exp, exact, rounded
from mdstream.model import MAX_NUMBER


@pytest.mark.parametrize(
    ("largest", "finest", "wanted"),
    [
        ("1234567890.12345678", -8, -5),
        ("123456789012.12345", -5, -3),
        ("0.012345678901234567", -18, -16),
        ("1", -8, -8),
        (Decimal("9007199.254740991"), -9, -8),
        (900_719_925_474_099, -2, 0),
        (0, -18, -18),
    ],
)
def test_the_finest_scale_leaves_room_to_grow(largest: str | Decimal | int, finest: int, wanted: int) -> None:
    assert size_exp_for(largest, finest) == wanted


@pytest.mark.parametrize("largest", ["1" + "0" * 16, "1e30", "nan", "x", 1.5, True, None])
def test_what_no_scale_holds_is_refused(largest: object) -> None:
    with pytest.raises(FeedError):
        size_exp_for(largest)  # type: ignore[arg-type]


def test_only_a_size_that_is_too_large_asks_for_a_coarser_scale() -> None:
    assert coarser_exp(["1", "2.5", 1.5, None, "nan", "x"], -8) is None
    assert coarser_exp(["1", "1234567890.12345678"], -8) == -5
    assert coarser_exp(["1" + "0" * 17], -8) is None, "it would be beyond 2^53 − 1 whole units"


@given(st.decimals(min_value=0, max_value=10**15, allow_nan=False, places=12), st.integers(-10, 0))
def test_rounding_never_adds_and_never_deletes(size: Decimal, exp: int) -> None:
    cut, lot = exact(rounded(size, exp)), Decimal(1).scaleb(exp)
    assert cut is not None
    assert cut % lot == 0
    assert cut == 0 if size == 0 else cut >= lot
    assert cut == lot or size - lot < cut <= size


@given(st.decimals(min_value=0, max_value=MAX_NUMBER // 10, allow_nan=False, places=6))
def test_the_scale_found_holds_ten_times_the_size(size: Decimal) -> None:
    exp = size_exp_for(size, -9)
    assert size * 10 <= Decimal(MAX_NUMBER).scaleb(exp)
    assert exp == -9 or size * 10 > Decimal(MAX_NUMBER).scaleb(exp - 1)
