from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.printable import printable, printable_json, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("BTC-USD ü 価格 …", "BTC-USD ü 価格 …"),
        ("a\nb\r\n", r"a\nb\r\n"),
        ("\x1b[2J\x9b1m\x7f", r"\x1b[2J\x9b1m\x7f"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\u200b\u2028\u2029\ufeff", r"\u200b\u2028\u2029\ufeff"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        (ValueError("no\0"), r"no\x00"),
    ],
)
def test_what_is_not_printable_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_line_breaks_stay_before_indented_lines_alone() -> None:
    assert printable_lines("one\n  two\x1b\rthree\nfour\n") == "one\n  two\\x1b\\rthree\\nfour\\n"


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and shown.encode().decode() == shown
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


@given(
    st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_json_keeps_its_meaning(value: object) -> None:
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert shown.isprintable() and shown.encode().decode() == shown
    assert json.loads(shown) == value
