"""Alerts as values, and the state machine that decides which price fires which."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.alert import (
    ABOVE,
    BELOW,
    MAX_NOTE,
    MOST_A_MINUTE,
    UNKNOWN,
    AlertState,
    Fired,
    Price,
    event_data,
    is_over,
    move,
    price_text,
    read_alert,
    read_new_alert,
    side_of,
)

GOOD: dict[str, Any] = {"instrument": "SIM:BTC-USD", "on": "bid", "when": "crosses", "price": "100.5"}


def alert(**more: Any) -> Any:
    return read_alert({**GOOD, **more})


def test_an_alert_is_read_with_what_it_leaves_out() -> None:
    found = alert()
    assert (str(found.instrument), found.on, found.when, found.text) == (
        "SIM:BTC-USD",
        "bid",
        "crosses",
        "100.5",
    )
    assert found.once and found.note == "" and found.fired is None
    fired = {"rev": 7, "count": 2, "ts": 5, "price": "101", "paused": False}
    assert alert(fired=fired).fired == Fired(7, 2, 5, "101", False)
    assert alert(fired=fired).fired.value() == fired


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "an alert is a map"),
        ([1], "an alert is a map"),
        ({}, "needs instrument, on, when, price"),
        ({**GOOD, "color": 1}, "nothing else"),
        ({**GOOD, "instrument": 5}, "a string such as"),
        ({**GOOD, "instrument": "btc"}, "no colon"),
        ({**GOOD, "on": "mid"}, "on must be one of bid, ask, last"),
        ({**GOOD, "on": ["bid"]}, "on must be one of"),
        ({**GOOD, "when": "near"}, "when must be one of above, below, crosses"),
        ({**GOOD, "price": 100.5}, "an exact decimal as a string"),
        ({**GOOD, "price": "1e5"}, "an exact decimal"),
        ({**GOOD, "price": "+1"}, "an exact decimal"),
        ({**GOOD, "price": "1."}, "an exact decimal"),
        ({**GOOD, "price": "1" * 35}, "at most 34 digits"),
        ({**GOOD, "price": "0." + "1" * 19}, "18 after the point"),
        ({**GOOD, "price": "١"}, "an exact decimal"),
        ({**GOOD, "once": 1}, "once must be true or false"),
        ({**GOOD, "note": 1}, "note must be a string"),
        ({**GOOD, "note": "x" * (MAX_NOTE + 1)}, "at most 256 characters"),
        ({**GOOD, "fired": 1}, "fired must be a map"),
        ({**GOOD, "fired": {"rev": -1, "count": 1, "ts": 1, "price": "", "paused": False}}, "whole numbers"),
        ({**GOOD, "fired": {"rev": 1, "count": 1, "ts": 1, "price": 5, "paused": False}}, "price of fired"),
    ],
)
def test_what_is_no_alert_is_told_why(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_alert(value)


def test_a_user_does_not_say_that_an_alert_has_fired() -> None:
    with pytest.raises(ValueError, match="leave it out, and the alert is armed anew"):
        read_new_alert({**GOOD, "fired": {}})


@given(st.integers(-(10**12), 10**12), st.integers(-9, 9), st.decimals(-(10**9), 10**9, places=6))
def test_a_price_is_compared_exactly(ticks: int, price_exp: int, level: Decimal) -> None:
    found = alert(price=f"{level:f}")
    exact = Decimal(ticks).scaleb(price_exp)
    assert side_of(found, ticks, price_exp) == (exact > level) - (exact < level)


@given(st.integers(-(2**53), 2**53), st.integers(-18, 18))
def test_a_price_as_text_is_exact(ticks: int, price_exp: int) -> None:
    text = price_text(ticks, price_exp)
    assert Decimal(text) == Decimal(ticks).scaleb(price_exp)
    assert len(text.partition(".")[2]) == max(-price_exp, 0)


def test_a_level_between_two_ticks_has_a_side_for_each() -> None:
    assert Price.parse("-0.5").in_ticks(0) == (-1, 0)
    assert Price.parse("100.5").in_ticks(-2) == (10_050, 10_050)


def fired(when: str, sides: list[int], *, once: bool = False) -> list[int]:
    """At which of these the alert fires."""
    found, state = alert(when=when, once=once), AlertState()
    return [number for number, side in enumerate(sides) if move(found, state, side, number)]


def test_above_fires_at_once_and_each_time_that_the_price_comes_from_below() -> None:
    assert fired("above", [ABOVE, ABOVE, BELOW, ABOVE]) == [0, 3]
    assert fired("above", [BELOW, UNKNOWN, ABOVE]) == [2]
    assert fired("below", [ABOVE, BELOW, BELOW, ABOVE, BELOW]) == [1, 4]


def test_crosses_learns_the_side_and_fires_in_both_directions() -> None:
    assert fired("crosses", [ABOVE, ABOVE, BELOW, ABOVE]) == [2, 3]
    assert fired("crosses", [UNKNOWN, BELOW, ABOVE]) == [2]


def test_a_price_that_equals_the_level_changes_nothing() -> None:
    assert fired("crosses", [BELOW, UNKNOWN, BELOW, UNKNOWN, ABOVE]) == [4]
    assert fired("above", [ABOVE, UNKNOWN, ABOVE]) == [0]


def test_once_is_once() -> None:
    assert fired("crosses", [BELOW, ABOVE, BELOW, ABOVE], once=True) == [1]


def test_an_alert_that_fires_too_often_in_a_minute_of_the_market_is_paused() -> None:
    found, state = alert(once=False), AlertState()
    sides = [BELOW, ABOVE] * MOST_A_MINUTE * 2
    times = [n for n, side in enumerate(sides) if move(found, state, side, 60_000_000 + n)]
    assert len(times) == MOST_A_MINUTE and state.paused and is_over(found, state)
    found, state = alert(once=False), AlertState()
    assert sum(move(found, state, side, n * 2_000_000) for n, side in enumerate(sides)) == len(sides) - 1
    assert not state.paused


def test_the_event_says_all_that_is_known_and_nothing_that_is_not() -> None:
    found, state = alert(note="sell"), AlertState(epoch=3, seq=9, count=1)
    data = event_data("up", 17, found, state, "100.60", 5, late=False)
    assert data == {
        **GOOD,
        "alert": "up",
        "crossed": "100.60",
        "epoch": 3,
        "seq": 9,
        "ts": 5,
        "rev": 17,
        "count": 1,
        "id": "17.3.9",
        "note": "sell",
    }
    assert event_data("up", 17, found, state, "100.60", 5, late=True)["late"] is True
