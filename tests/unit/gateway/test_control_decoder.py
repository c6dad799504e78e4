from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import messages
from mdstream.gateway.commands import _decode_plain, decode
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.control_decoder import (
    JSON,
    MAX_VALUES,
    MOST_DEEP,
    MSGPACK,
    decode_strictly,
    first_repeated,
    shown,
)
from mdstream.gateway.messages import encode

MESSAGE = {"type": "pong", "id": "ü", "data": {"a": [1, None, -2.5, 'x"\n']}, "time": 1}


def values(format: int, payload: bytes) -> list[object]:
    return list(decode(format, payload))


def refused(format: int, payload: bytes) -> str:
    with pytest.raises(CommandError) as caught:
        values(format, payload)
    assert caught.value.code == ErrorCode.BAD_COMMAND
    return str(caught.value)


def test_encode_gives_the_bytes_of_the_libraries() -> None:
    assert encode(JSON, MESSAGE) == json.dumps(MESSAGE, separators=(",", ":"), ensure_ascii=False).encode()
    assert encode(MSGPACK, MESSAGE) == msgpack.packb(MESSAGE)


def test_what_is_encoded_is_decoded() -> None:
    assert values(JSON, encode(JSON, MESSAGE)) == [MESSAGE]
    assert values(MSGPACK, encode(MSGPACK, MESSAGE) * 3) == [MESSAGE] * 3


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"op":"ping"} x', "Extra data"),
        (b'{"op":"ping"}{"op":"ping"}', "Extra data"),
        (b'{"a":NaN}', "NaN is no JSON number"),
        (b'{"a":-Infinity}', "-Infinity is no JSON number"),
        (b'{"a":1e999}', "out of range"),
        (b'{"a":1,"a":2}', "'a' is given twice"),
        (b'{"a":{"b":1,"b":1}}', "'b' is given twice"),
        (b'{"a":"\\ud800"}', "lone surrogate"),
        (b'{"\\uDC00":1}', "lone surrogate"),
        (b"[" * 19_000, "nested too deep"),
        (b"[" * 60_000, "more than 20000 values"),
        (b'{"a":' * 1_800, "nested too deep"),
        (b"[" + b"{}," * 2_000 + b"{}]", "more than 20000 values"),
        (b'{"a":' + b"9" * 5_000 + b"}", "an integer has too many digits"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\xff"}', "byte 6 is not UTF-8"),
    ],
)
def test_json_that_is_refused(payload: bytes, said: str) -> None:
    assert said in refused(JSON, payload)


def test_json_with_a_whole_surrogate_pair_is_text() -> None:
    assert values(JSON, b'{"a":"\\ud83d\\ude00"}') == [{"a": "😀"}]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "empty"),
        (b"\xc1", "no such type"),
        (b"\xa1\xff", "a string is not UTF-8"),
        (b"\x81\x01\x02", "a key of a map must be a string, not an integer"),
        (b"\x81\x90\x02", "a key of a map must be a string, not an array"),
        (b"\x81\xc4\x01a\x02", "a key of a map must be a string, not binary"),
        (b"\x82\xa1a\x01\xa1a\x02", "'a' is given twice"),
        (b"\xdd\xff\xff\xff\xff", "cut short"),
        (b"\xdf\x00\x10\x00\x00", "cut short"),
        (b"\xdb\x00\x00\xff\xff", "cut short"),
        (b"\x92\x01", "cut short"),
        (b"\x91" * 5_000, "nested too deep"),
    ],
)
def test_msgpack_that_is_refused(payload: bytes, said: str) -> None:
    assert said in refused(MSGPACK, payload)


def test_values_before_the_bad_one_are_given() -> None:
    found: list[object] = []
    with pytest.raises(CommandError, match="byte 2: no such type"):
        found.extend(decode(MSGPACK, b"\x01\x02\xc1\x03"))
    assert found == [1, 2]


def test_a_command_may_hold_so_many_values() -> None:
    some = list(range(MAX_VALUES - 12))  # beside them: a map, which counts as ten, its key, and the array
    assert values(MSGPACK, msgpack.packb({"data": some})) == [{"data": some}]
    assert "more than 20000 values" in refused(MSGPACK, msgpack.packb({"data": [*some, 0]}))


@pytest.mark.parametrize("format", [JSON, MSGPACK])
@pytest.mark.parametrize("kind", [list, dict])
def test_values_may_be_nested_so_deep(format: int, kind: type) -> None:
    deep: Any = [1, "[{"]
    for _ in range(MOST_DEEP - 2):
        deep = [[1], deep] if kind is list else {"a": {"b": 1}, "c": deep}
    payload = encode(format, [deep])
    assert values(format, payload) == [[deep]]
    assert "nested too deep" in refused(
        format, b"\x91" + payload if format == MSGPACK else b"[" + payload + b"]"
    )


def test_each_value_of_a_message_may_hold_so_many() -> None:
    one = msgpack.packb(list(range(15_000)))
    assert len(values(MSGPACK, one * 3)) == 3


def test_announced_lengths_do_not_buy_memory() -> None:
    # 1,000 nested arrays, each announcing as many elements as are allowed, none of which is there.
    payload = (b"\xdc" + (1_000).to_bytes(2, "big")) * 1_000
    tracemalloc.start()
    try:
        refused(MSGPACK, payload)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


@given(st.sampled_from([JSON, MSGPACK]), st.binary(max_size=200))
def test_any_bytes_are_values_or_bad_command(format: int, payload: bytes) -> None:
    try:
        values(format, payload)
    except CommandError as error:
        assert error.code == ErrorCode.BAD_COMMAND
        assert 0 < len(str(error)) < 400


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON_VALUES)
def test_whatever_json_is_decoded_can_be_echoed(value: object) -> None:
    (decoded,) = values(JSON, json.dumps(value).encode("utf-8", "surrogatepass"))
    assert json.loads(encode(JSON, {"data": decoded})) == {"data": value}


@given(st.lists(st.integers(0, 5)))
def test_first_repeated(items: list[int]) -> None:
    expected = next((item for i, item in enumerate(items) if item in items[:i]), None)
    assert first_repeated(items) == expected


@pytest.mark.parametrize("value", ["é" * 1000, list(range(1000)), b"\xff" * 1000, "\n", {"a": "\ud800"}])
def test_shown_is_short_and_printable_ascii(value: object) -> None:
    assert len(shown(value)) <= 72
    assert shown(value).rstrip("…").isascii()
    assert shown(value).isprintable()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=4), PLAIN, max_size=5))
def test_every_control_message_has_the_bytes_of_the_plain_libraries(message: dict[str, object]) -> None:
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    assert encode(JSON, message) == text.encode()
    assert values(JSON, text.encode()) == [message]


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=300),
            lambda inner: (
                st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20)
            ),
        ),
        max_size=5,
    )
)
def test_and_in_messagepack(message: dict[str, object]) -> None:
    assert encode(MSGPACK, message) == msgpack.packb(message)
    assert values(MSGPACK, msgpack.packb(message)) == [message]


@given(st.binary(max_size=200), st.sampled_from([JSON, MSGPACK]))
def test_the_quick_way_decodes_what_the_strict_one_does(payload: bytes, format: int) -> None:
    quick = _decode_plain(format, payload)
    if quick is not None:
        assert list(decode_strictly(format, payload)) == [quick]


NUMBERS = st.from_regex(r"-?(?:0|[1-9][0-9]{0,24})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(NUMBERS | st.floats(allow_nan=False, allow_infinity=False).map(repr))
def test_numbers_are_the_same_either_way(text: str) -> None:
    payload = f'{{"data":[{text}]}}'.encode()
    quick = _decode_plain(JSON, payload)
    try:
        (strict,) = decode_strictly(JSON, payload)
    except CommandError:
        assert quick is None
        return
    assert quick is None or repr(quick) == repr(strict)
    assert quick is not None or "." not in text or "e" in text.lower()


@pytest.mark.parametrize(
    "payload",
    [
        b'{"op":"x","op":"ping","data":"\\u003a"}',
        b'{"a":{"b":1},"a":{"b:":1}}',
        b'{"a\\"":1,"a\\"":2}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"a":1e400}',
    ],
)
def test_json_that_is_left_to_the_strict_way(payload: bytes) -> None:
    assert _decode_plain(JSON, payload) is None


@pytest.mark.parametrize(
    "value",
    [
        b"\x82\xa1a\x01\xa1a\x01",
        b"\xde\x00\x02\xa1a\x01\xa1a\x01",
        b"\xdf\x00\x00\x00\x02\xa1a\x01\xa1a\x01",
        b"\x81\xa1a\x82\xc4\x01b\x01\xc4\x01b\x01",
        b"\x81\x01\x01",
        b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\x81\xa1a\xd6\xff\x00\x00\x00\x01",
        b"\x81\xa1a\xc7\x01\x05x",
    ],
)
def test_messagepack_that_is_left_to_the_strict_way(value: bytes) -> None:
    assert _decode_plain(MSGPACK, value) is None


@pytest.mark.parametrize("format", [JSON, MSGPACK])
@pytest.mark.parametrize("shared", [{}, {"address": {"connections": 10}, "user": {"connections": 0}}])
def test_welcome_is_put_together_as_it_would_be_encoded(
    format: int, shared: dict[str, dict[str, int]]
) -> None:
    config = GatewayConfig(node="ünïcode 0123456789abcdef")
    session, time_us = "fedcba9876543210", 1_723_075_200_000_000
    made = messages.Welcomes(config, shared).encode(format, session, time_us)
    assert made == encode(format, messages.welcome(config, session, time_us, shared))
