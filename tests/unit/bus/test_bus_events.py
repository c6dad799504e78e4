from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream._core.codec.duplicate_keys import is_plain
from mdstream.bus.events import MAX_DATA_BYTES, Event, check_event, decode_event, encode_event, message_id
from mdstream.bus.positions import position_key
from mdstream.bus.stored_message import header, numbered
from mdstream.errors import PayloadError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "events.json").read_text(encoding="utf-8"))

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS["bus"], ids=lambda vector: vector["name"])
def test_messages_are_the_vectors(vector: dict[str, Any]) -> None:
    message = vector["message"]
    event = Event(message["type"], message["data"], message["sender"])
    packed = bytes.fromhex(vector["msgpack"])
    assert encode_event(event) == packed
    assert decode_event(packed) == decode_event(vector["json"].encode()) == event


@given(values)
def test_what_is_encoded_is_what_is_read(data: Any) -> None:
    event = Event("x", data, "alice")
    check_event(event.type, event.data)
    assert decode_event(encode_event(event)) == event


@given(st.binary(max_size=200))
def test_anything_is_an_event_or_refused(payload: bytes) -> None:
    try:
        check_event(*decode_event(payload)[:2])
    except PayloadError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("type", "data", "said"),
    [
        ("", 1, "event must be 1 to 64"),
        (65 * "x", 1, "event must be 1 to 64"),
        ("a\nb", 1, "event must be 1 to 64"),
        ("x", float("inf"), "not finite"),
        ("x", [b"bytes"], "JSON has not"),
        ("x", {1: 2}, "JSON has not"),
        ("x", {"a": {2: 3}}, "JSON has not"),
        ("x", json.loads(65 * "[" + 65 * "]"), "deeper than 64"),
        ("x", (MAX_DATA_BYTES - 1) * "x", "16385 bytes"),
        ("x", 2**64, "beyond 64 bits"),
        ("x", "\ud800", "data cannot be sent"),
    ],
)
def test_what_is_no_event(type: str, data: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_event(type, data)


def test_the_largest_and_the_deepest_are_fine() -> None:
    check_event(64 * "x", (MAX_DATA_BYTES - 2) * "x")
    check_event("x", json.loads(64 * "[" + 64 * "]"))


def test_missing_senders_are_nobody() -> None:
    assert decode_event(b' {"type":"x","data":null}').sender is None
    assert decode_event(msgpack.packb({"type": "x", "data": 1, "more": 2})) == Event("x", 1, None)


def test_the_last_header_of_a_name_is_the_server_s() -> None:
    block = (
        b"NATS/1.0\r\nNats-Sequence: 999\r\nx: y\r\nNats-Sequence: 7\r\n"
        b"Nats-Time-Stamp: 2026-11-29T10:00:00.123456789Z\r\nNats-Last-Sequence: 5\r\n\r\n"
    )
    assert header(block, b"Nats-Sequence") == b"7"
    assert header(block, b"Nats-Seq") is None
    found = numbered(block, b"p")
    assert found is not None
    assert (found.seq, found.prev, found.payload) == (7, 5, b"p")
    assert found.stored_us % 1_000_000 == 123_456
    for wrong in (None, b"", block.replace(b"7\r\n", b"x\r\n"), block.replace(b"2026-", b"20x6-")):
        assert numbered(wrong, b"p") is None


def test_keys_are_of_one_user_topic_and_device() -> None:
    keys = {
        position_key(user, topic, device)
        for user in ("a", "b")
        for topic in ("t", "u")
        for device in (None, "a", "t")
    }
    assert len(keys) == 12
    assert "%" not in position_key("a", "user.a%40b", None)
    assert len({message_id("a", "b", "c"), message_id("ab", "", "c"), message_id("a", "bc", "")}) == 3


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**65), 2**65)
        | st.floats()
        | st.text(max_size=4)
        | st.binary(max_size=2),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
        ),
        max_leaves=12,
    ),
    st.integers(0, 3),
)
def test_what_is_plain_is_what_json_holds(value: Any, depth: int) -> None:
    assert is_plain(value, depth) == _holds(value, depth)


def _holds(value: Any, left: int) -> bool:
    if isinstance(value, list | dict):
        within = value if isinstance(value, list) else value.values()
        keys = value if isinstance(value, dict) else ()
        return (
            left > 0
            and all(isinstance(key, str) for key in keys)
            and all(_holds(each, left - 1) for each in within)
        )
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, bytes) and (not isinstance(value, int) or -(2**63) <= value < 2**64)
