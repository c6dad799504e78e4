from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.bus.subjects import STREAMS, parse_subject, subject
from mdstream.model import InstrumentId

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("venue", "symbol", "expected"),
    [
        ("SIM", "BTC-USD", "md.SIM.BTC-USD.book"),
        ("BRK.A", "BRK.B", "md.BRK%2EA.BRK%2EB.book"),
        ("SIM", "a*b>c d%", "md.SIM.a%2Ab%3Ec%20d%25.book"),
        ("SIM", "\t\x7f\x85", "md.SIM.%09%7F%C2%85.book"),
        ("SIM", "東京", "md.SIM.東京.book"),
    ],
)
def test_subject_encodes_what_a_token_may_not_hold(venue: str, symbol: str, expected: str) -> None:
    assert subject(InstrumentId(venue, symbol), "book") == expected
    assert parse_subject(expected) == (InstrumentId(venue, symbol), "book")


@given(TEXT, TEXT, st.sampled_from(STREAMS))
def test_parse_is_the_inverse_and_the_subject_has_four_clean_tokens(
    venue: str, symbol: str, stream: str
) -> None:
    text = subject(InstrumentId(venue, symbol), stream)
    assert parse_subject(text) == (InstrumentId(venue, symbol), stream)
    tokens = text.split(".")
    assert len(tokens) == 4 and all(tokens)
    assert not any(ord(c) <= 0x20 or c in "*>" or 0x7F <= ord(c) < 0xA0 for c in text)


@given(st.text(max_size=40))
def test_any_text_is_parsed_exactly_or_refused_with_value_error(text: str) -> None:
    try:
        instrument, stream = parse_subject(text)
    except ValueError:
        return
    assert subject(instrument, stream) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("md.SIM.BTC", "must read"),
        ("xx.SIM.BTC.book", "must read"),
        ("md.SIM.BTC.USD.book", "must read"),
        ("md.SIM.BTC.candles", "'candles'"),
        ("md..BTC.book", "venue"),
        ("md.SIM..book", "symbol"),
        ("md.SIM.%2e.book", "%252e"),
        ("md.SIM.%41.book", "md.SIM.A.book"),
        ("md.SIM.%FF.book", "not percent-encoded UTF-8"),
        ("md.SIM.50%.book", "%25"),
        ("md.SIM.\ud800.book", "not percent-encoded UTF-8"),
    ],
)
def test_parse_refuses_what_subject_never_makes(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_subject(text)


@pytest.mark.parametrize(("venue", "symbol", "said"), [("", "BTC", "venue"), ("SIM", "", "symbol")])
def test_subject_refuses_an_empty_token(venue: str, symbol: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        subject(InstrumentId(venue, symbol), "book")


def test_subject_refuses_an_unknown_stream() -> None:
    with pytest.raises(ValueError, match="'candles'"):
        subject(InstrumentId("SIM", "BTC"), "candles")


def test_the_wildcard_covers_every_stream_of_the_instrument() -> None:
    assert subject(InstrumentId("SIM", "A.B"), "*") == "md.SIM.A%2EB.*"
