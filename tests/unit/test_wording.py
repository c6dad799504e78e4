"""What is wrong with a value is said in the words of JSON and MessagePack, with the place."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from mdstream.wording import explained, kind_of, shown, with_path, written


class Nested(msgspec.Struct, forbid_unknown_fields=True):
    at_least: Annotated[int, Meta(ge=1)] = 1


class Many(msgspec.Struct, forbid_unknown_fields=True):
    whole: int = 0
    number: Annotated[float, Meta(gt=0, le=5)] = 1.0
    text: Annotated[str, Meta(min_length=2, max_length=3)] = "ab"
    flag: bool = False
    nothing: None = None
    id: int | str | None = None
    some: Annotated[list[str], Meta(max_length=2)] = msgspec.field(default_factory=list)
    pair: tuple[int, int] = (0, 0)
    by_key: Annotated[dict[str, int], Meta(max_length=2)] = msgspec.field(default_factory=dict)
    nested: Nested | None = None


TABLE: list[tuple[dict[str, Any], str]] = [
    ({"whole": "1"}, "whole: must be an integer, not a string"),
    ({"whole": 1.5}, "whole: must be an integer, not a float"),
    ({"whole": True}, "whole: must be an integer, not a boolean"),
    ({"whole": None}, "whole: must be an integer, not null"),
    ({"whole": []}, "whole: must be an integer, not an array"),
    ({"whole": {}}, "whole: must be an integer, not a map"),
    ({"whole": b""}, "whole: must be an integer, not binary"),
    ({"whole": dt.date(2026, 11, 30)}, "whole: must be an integer, not an extension"),
    ({"number": "1"}, "number: must be a number, not a string"),
    ({"number": 0.0}, "number: must be more than 0.0"),
    ({"number": 5.5}, "number: must be at most 5.0"),
    ({"text": 1}, "text: must be a string, not an integer"),
    ({"text": "a"}, "text: must have at least 2 characters"),
    ({"text": "abcd"}, "text: must have at most 3 characters"),
    ({"flag": 1}, "flag: must be a boolean, not an integer"),
    ({"nothing": 1}, "nothing: must be null, not an integer"),
    ({"id": []}, "id: must be an integer, a string or null, not an array"),
    ({"some": {}}, "some: must be an array, not a map"),
    ({"some": ["a", 1]}, "some[1]: must be a string, not an integer"),
    ({"some": ["a", "b", "c"]}, "some: must have at most 2 entries"),
    ({"pair": [1]}, "pair: must have 2 entries, not 1"),
    ({"pair": [1, 2, 3]}, "pair: must have 2 entries, not 3"),
    ({"by_key": []}, "by_key: must be a map, not an array"),
    ({"by_key": {"a": 1, "b": 2, "c": 3}}, "by_key: must have at most 2 keys"),
    ({"nested": {"at_least": 0}}, "nested.at_least: must be at least 1"),
    ({"nested": {"at_most": 0}}, "nested: unknown field `at_most`"),
    ({"unknown": 0}, "unknown field `unknown`"),
    ({"a\nb": 0}, r"unknown field `a\nb`"),
]


@pytest.mark.parametrize(("value", "said"), TABLE, ids=[said for _, said in TABLE])
def test_what_msgspec_says_in_words_of_json(value: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, Many)
    assert explained(caught.value) == said


def test_what_is_no_message_at_all_is_told_as_it_is() -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(b"{")
    assert explained(caught.value) == str(caught.value)


def test_what_is_told_is_short_and_printable() -> None:
    text = with_path("k" * 300, "\x1b")
    assert len(text) == 200 and text.endswith("…")
    assert with_path("a", "\x1b\u202e") == r"a: \x1b\u202e"


@pytest.mark.parametrize(
    ("value", "kind", "short", "whole"),
    [
        (None, "null", "null", "null"),
        (True, "a boolean", "true", "true"),
        (False, "a boolean", "false", "false"),
        (7, "an integer", "7", "7"),
        (1.5, "a float", "1.5", "1.5"),
        ("a\n", "a string", r"'a\n'", r"'a\n'"),
        (b"\x01\xff", "binary", "binary", "bytes 01 ff"),
        ([None, "a"], "an array", "an array", "[null, 'a']"),
        ((1, True), "an array", "an array", "[1, true]"),
        ({"a": None}, "a map", "a map", "{'a': null}"),
        (dt.date(2026, 11, 30), "an extension", "an extension", "2026-11-30"),
    ],
)
def test_values_are_told_in_words_of_json(value: object, kind: str, short: str, whole: str) -> None:
    assert (kind_of(value), shown(value), written(value)) == (kind, short, whole)


def test_what_is_nested_deep_is_left_out() -> None:
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]
    assert written(deep) == "[" * 8 + "…" + "]" * 8


@given(st.text())
def test_text_is_shown_short_and_printable(text: str) -> None:
    assert len(shown(text)) <= 72 and shown(text).removesuffix("…").isascii() and shown(text).isprintable()
