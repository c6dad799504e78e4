"""Whether two patterns have a name in common, against names that are tried."""

from __future__ import annotations

from itertools import product

import pytest

from mdstream.auth.entitlements import ALL, NONE, Entitlements
from mdstream.auth.patterns import Pattern

TEXTS = ["*", "A:*", "B:*", "A:x", "A:xy", "A:x*", "A:y*", "A:*x", "A:*yx", "A:x*y", "*:x", "*:x*", "*:*y"]
SYMBOLS = ["".join(letters) for size in range(1, 5) for letters in product("xyz", repeat=size)]


@pytest.mark.parametrize(("one", "other"), list(product(TEXTS, repeat=2)))
def test_patterns_overlap_where_a_name_matches_both(one: str, other: str) -> None:
    first, second = Pattern.parse(one), Pattern.parse(other)
    common = any(
        first.matches(venue, symbol) and second.matches(venue, symbol)
        for venue in "ABC"
        for symbol in SYMBOLS
    )
    assert first.overlaps(second) == common == second.overlaps(first)


def test_a_scope_is_what_the_grants_of_a_channel_allow() -> None:
    grants = [
        {"channels": ["board"], "instruments": ["A:*"], "interval_ms": 500},
        {"channels": ["book", "board"], "instruments": ["B:x"], "delay_ms": 60_000},
        {"channels": ["ticker"], "instruments": ["C:*"]},
    ]
    entitlements = Entitlements.from_claim({"grants": grants})
    a, b = Pattern.parse("A:*"), Pattern.parse("B:x")
    assert entitlements.scope("board", 100) == frozenset()
    assert entitlements.scope("board", 500) == {a}
    assert entitlements.scope("board", 500, served_ms=60_000) == {a, b}
    assert ALL.scope("board", 0) == {Pattern.parse("*")} and NONE.scope("board", 0) == frozenset()
