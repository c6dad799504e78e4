"""The hash of the change log's table: nobody can choose prices that meet in one slot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mdstream._core.orderbook.book import Book
from mdstream._core.orderbook.changelog import hash_factor, set_hash_factor

KNOWN = 0x9E3779B97F4A7C15
COUNT = 1000
SLOTS = 2048
WORD = 2**64


@pytest.fixture
def factor() -> Iterator[int]:
    kept = hash_factor()
    yield kept
    set_hash_factor(kept)


def colliding_bids(factor: int) -> list[int]:
    """Prices of bids whose levels this factor puts into one slot."""
    inverse = pow(factor, -1, WORD)
    levels = (inverse * small % WORD for small in range(1, 2**62))
    found: list[int] = []
    for level in levels:
        ticks = (level - WORD if level >= WORD // 2 else level) // 2
        if level % 2 == 0 and abs(ticks) < 2**53:
            found.append(ticks)
        if len(found) == COUNT:
            return sorted(found, reverse=True)
    raise AssertionError("there are enough of them")


def slots_used(ticks: list[int], factor: int) -> int:
    return len({(2 * t * factor % WORD) // (WORD // SLOTS) for t in ticks})


def test_prices_chosen_for_a_known_factor_are_spread_by_the_one_of_this_process(factor) -> None:
    chosen = colliding_bids(KNOWN)
    assert slots_used(chosen, KNOWN) == 1
    assert factor % 2 == 1
    assert slots_used(chosen, factor) > SLOTS // 8


@pytest.mark.process
def test_each_process_has_its_own_factor() -> None:
    code = "from mdstream._core.orderbook.changelog import hash_factor; print(hash_factor())"
    random = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    fixed = random | {"PYTHONHASHSEED": "7"}
    factors = {
        subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True).stdout
        for env in (random, random, fixed, fixed)
    }
    assert len(factors) == 3, "unless a seed is given"


@pytest.mark.parametrize("other", [1, KNOWN])
def test_the_result_does_not_depend_on_the_factor(factor, other) -> None:
    deltas = []
    for each in (factor, other):
        set_hash_factor(each)
        book = Book("SIM:X")
        ticks = [7 * n % 1009 for n in range(1, 1009)]
        for number, price in enumerate(ticks * 2, 1):
            book.apply(number, number, 0, [price, number], [])
        deltas.append(book.delta(100))
    assert deltas[0] == deltas[1]


def test_an_even_factor_is_refused(factor) -> None:
    with pytest.raises(ValueError, match="must be odd, not 8"):
        set_hash_factor(8)
    assert hash_factor() == factor
