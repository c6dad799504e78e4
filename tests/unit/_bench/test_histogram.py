"""Latencies: percentiles against numpy, merging, saving."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream._bench.histogram import Histogram

LONGEST_US = 2**27 - 1
VALUES = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, LONGEST_US)), min_size=1, max_size=200)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(VALUES, st.floats(0, 100))
def test_a_percentile_is_numpys_to_three_digits(values: list[int], percent: float) -> None:
    exact = int(np.percentile(values, percent, method="inverted_cdf"))
    found = histogram(values).percentile(percent)
    assert exact <= found <= exact + exact / 1000


@given(VALUES)
def test_count_least_greatest_and_mean_are_exact(values: list[int]) -> None:
    found = histogram(values)
    assert (found.count, found.min, found.max) == (len(values), min(values), max(values))
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.percentile(100) == max(values)


@given(VALUES, VALUES)
def test_merged_is_as_if_counted_together(here: list[int], there: list[int]) -> None:
    merged = histogram(here)
    merged.add(histogram(there))
    assert merged.to_dict() == histogram(here + there).to_dict()


@given(VALUES)
def test_it_comes_back_from_json(values: list[int]) -> None:
    saved = json.loads(json.dumps(histogram(values).to_dict()))
    assert Histogram.from_dict(saved).to_dict() == saved


@given(st.integers(0, LONGEST_US))
def test_each_value_is_counted_in_the_bucket_whose_bound_it_does_not_exceed(value: int) -> None:
    bounds = Histogram.bounds()
    hit = int(np.flatnonzero(histogram([value]).counts())[0])
    assert value <= bounds[hit] and (hit == 0 or bounds[hit - 1] < value)


def test_what_is_out_of_range_is_counted_at_the_ends() -> None:
    found = histogram([-5, 2**40])
    assert (found.count, found.min, found.max) == (2, 0, LONGEST_US)


def test_nothing_counted_is_zero_everywhere_and_changes_nothing() -> None:
    empty, one = Histogram(), histogram([7])
    assert (empty.count, empty.min, empty.max, empty.mean, empty.percentile(99)) == (0, 0, 0, 0.0, 0)
    one.add(empty)
    empty.add(one)
    assert one.to_dict() == empty.to_dict() == histogram([7]).to_dict()


def test_reset_forgets_everything() -> None:
    found = histogram([1, 100_000])
    found.reset()
    assert found.to_dict() == Histogram().to_dict()


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan")])
def test_a_percentile_beyond_0_to_100_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        Histogram().percentile(percent)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Histogram().record(1, -1)


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"count": 1, "min": 1, "max": 1, "sum": 1, "buckets": []},
        {"count": 1, "min": 1, "max": 1, "sum": 1, "buckets": [[10**6, 1]]},
        {"count": 1, "min": 1, "max": 1, "sum": 1, "buckets": 3},
    ],
)
def test_what_to_dict_did_not_write_is_refused(saved: dict) -> None:
    with pytest.raises(ValueError):
        Histogram.from_dict(saved)
