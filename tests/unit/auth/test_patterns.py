from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.auth.patterns import Pattern, PatternSet
from mdstream.model import InstrumentId

venues = st.sampled_from(["SIM", "SIMS", "S", "A.B"])
symbols = st.text("AB-*", min_size=1, max_size=5)
stars = st.builds(lambda start, end: f"{start}*{end}", st.text("AB-", max_size=3), st.text("AB-", max_size=3))
patterns = st.one_of(
    st.just("*"),
    st.builds("{}:{}".format, venues | st.just("*"), stars | st.text("AB-", min_size=1, max_size=4)),
)


def matches(pattern: str, name: str) -> bool:
    """What the documentation says, as plainly as it can be."""
    if pattern == "*":
        return True
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^:]*"), name) is not None


def compiled(*texts: str) -> PatternSet:
    return PatternSet((Pattern.parse(text), 1 << number) for number, text in enumerate(texts))


@given(st.lists(patterns, max_size=8), st.builds("{}:{}".format, venues, symbols))
def test_all_patterns_that_match_are_found_and_no_others(texts: list[str], name: str) -> None:
    wanted = sum(1 << number for number, text in enumerate(texts) if matches(text, name))
    assert compiled(*texts).match(name) == wanted


@given(st.text(max_size=300))
def test_any_text_is_matched_without_an_error(text: str) -> None:
    assert compiled("SIM:*", "*:A*B", "SIM:A").match(text) in range(8)


@given(st.text(max_size=20) | st.text("AS:*-", max_size=8))
def test_what_is_accepted_is_an_instrument_with_stars(text: str) -> None:
    try:
        Pattern.parse(text)
    except ValueError as error:
        assert "upper-case venue" in str(error)
        return
    assert text == "*" or InstrumentId.parse(text.replace("*", "X"))
    assert text.partition(":")[2].count("*") <= 1


@pytest.mark.parametrize(
    "text",
    ["", "SIM", "SIM*", "sim:*", "SIM:", ":*", "S*M:A", "SIM:A:B", "SIM:*A*", "SIM:**", "**", "SIM:\n", "SIM:" + 129 * "A", 200 * "A", 7],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_with_the_right_shape(text: object) -> None:
    with pytest.raises(ValueError, match=r"VENUE:BTC\*") as raised:
        Pattern.parse(text)
    assert len(str(raised.value)) < 400


def test_a_star_does_not_reach_across_the_colon() -> None:
    found = compiled("BINANCE:*", "*:BTC")
    assert found.match("BINANCE:BTC") == 0b11
    assert found.match("BINANCEUS:BTC") == 0b10
    assert found.match("BINANCEUS:ETH") == 0
    assert found.match("binance:BTC") == 0b10
    assert found.match("BINANCE:btc") == 0b01


def test_start_and_end_do_not_share_characters() -> None:
    assert compiled("SIM:ABA*ABA").match("SIM:ABABA") == 0
    assert compiled("SIM:ABA*ABA").match("SIM:ABAABA") == 1


def test_a_thousand_patterns_of_venues_and_ends_of_their_own_cost_no_product() -> None:
    """What an issuer puts into one token is compiled in a turn of the loop, and asked for each instrument of a command."""
    venues = [f"V{n}" for n in range(500)]
    found = compiled(*(f"{venue}:*" for venue in venues), *(f"*:*X{n}" for n in range(500)))
    kept = [found._every, *found._venues.values()]
    assert (
        sum(len(each._starts) + len(each._whole) + sum(map(len, each._ends.values())) for each in kept)
        == 1_000
    )
    assert len(found._every._ends) == 3
    assert found.match("V7:AX12") == 1 << 7 | 1 << 512
