"""Changes of keyed state, and what becomes of a map by each of them."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from mdstream.maps import (
    MAX_CHANGE_KEYS,
    MAX_VALUE_BYTES,
    Applied,
    Change,
    MapState,
    Outcome,
    check_value,
    decode_change,
    encode_change,
    pages_of,
    presence_value,
)

T0 = 1_753_000_000_000_000


def put(state: MapState, seq: int, *, at_s: float = 0, ttl_ms: int | None = None, **values: Any) -> Applied:
    change = Change({key: (value, ttl_ms) for key, value in values.items()}, by="alice")
    return state.apply(seq, T0 + int(at_s * 1e6), change)


def shown(state: MapState) -> dict[str, Any]:
    return {key: entry.value for key, entry in state.items()}


# ---- bytes


def test_a_change_is_read_in_both_formats() -> None:
    change = Change({"a": ({"x": [1, None]}, 5)}, ("b",), {"a": 0}, "alice")
    assert decode_change(encode_change(change)) == change
    text = json.dumps(
        {"set": {"a": [{"x": [1, None]}, 5]}, "delete": ["b"], "expect": {"a": 0}, "by": "alice"}
    )
    assert decode_change(text.encode()) == change


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {},
        {"expect": {"a": 1}},
        {"set": {"a": 1}},
        {"set": {"a": [1]}},
        {"set": {"a": [1, 0]}},
        {"set": {"a": [1, True]}},
        {"set": {"": [1, None]}},
        {"set": {"k" * 129: [1, None]}},
        {"set": {"a": ["x" * MAX_VALUE_BYTES, None]}},
        {"set": {"a": [1, None]}, "delete": ["a"]},
        {"set": {"a": [1, None]}, "by": "x" * 257},
        {"set": {"a": [1, None]}, "expect": {"a": -1}},
        {"set": {"a": [1, None]}, "expire": {"b": 1}},
        {"set": {"a": [1, None]}, "what": 1},
        {"delete": [str(n) for n in range(MAX_CHANGE_KEYS + 1)]},
        {"drop_node": 7},
    ],
)
def test_what_is_no_change_is_refused(fields: Any) -> None:
    for payload in (json.dumps(fields).encode(), msgpack.packb(fields)):
        with pytest.raises(ValueError):
            decode_change(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"\xc1", b"\x7b\xff", b"[" * 10_000, b"\x91" * 10_000, b"{" * 9_999]
)
def test_garbage_is_no_change(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode_change(payload)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), b"x", 2**64, -(2**63) - 1, {1: 2}, "\ud800", object()]
)
def test_a_value_is_what_both_formats_can_hold(value: Any) -> None:
    with pytest.raises(ValueError):
        check_value(value)
    with pytest.raises(ValueError):
        check_value([{"a": value}])


def test_a_value_may_be_nested_only_so_deep() -> None:
    value: Any = 1
    for _ in range(31):
        value = [value]
    check_value(value)
    with pytest.raises(ValueError, match="deep"):
        check_value([[value]])


# ---- set, delete, expect


def test_the_last_value_holds_and_says_whose_it_is() -> None:
    state = MapState()
    put(state, 3, a=1, b=2)
    assert put(state, 7, a=5).set == ("a",)
    entry = state.find("a")
    assert entry is not None and (entry.value, entry.rev, entry.by, entry.ts_us) == (5, 7, "alice", T0)
    assert state.apply(9, T0, Change(delete=("b", "never"))).gone == ["b"]
    assert shown(state) == {"a": 5} and state.seq == 9


def test_of_two_that_expect_the_same_the_first_in_the_log_wins() -> None:
    state = MapState()
    first = state.apply(1, T0, Change({"bid": (10, None)}, expect={"bid": 0}, by="alice"))
    second = state.apply(2, T0, Change({"bid": (11, None)}, expect={"bid": 0}, by="bob"))
    assert (first.outcome, second.outcome, second.key) == (Outcome.APPLIED, Outcome.CONFLICT, "bid")
    assert shown(state) == {"bid": 10} and state.seq == 2
    assert state.apply(3, T0, Change({"bid": (12, None)}, expect={"bid": 1})).outcome is Outcome.APPLIED


def test_a_change_is_applied_as_a_whole_or_not_at_all() -> None:
    state = MapState()
    put(state, 1, a=1, b=1)
    applied = state.apply(2, T0, Change({"a": (2, None)}, ("b",), {"a": 1, "b": 9}))
    assert applied.outcome is Outcome.CONFLICT and shown(state) == {"a": 1, "b": 1}


def test_a_change_beyond_the_bounds_changes_nothing_and_a_smaller_map_is_always_possible() -> None:
    state = MapState(max_keys=2, max_bytes=1_000)
    put(state, 1, a="x" * 400, b="y" * 400)
    before = state.bytes
    assert put(state, 2, c=1).outcome is Outcome.LIMIT
    assert put(state, 3, a="x" * 800).outcome is Outcome.LIMIT
    assert state.bytes == before and len(state) == 2
    assert put(state, 4, a="x").outcome is Outcome.APPLIED
    swap = Change({"c": (1, None)}, ("b",))
    assert state.apply(5, T0, swap).outcome is Outcome.APPLIED and set(shown(state)) == {"a", "c"}


def test_a_number_is_applied_once() -> None:
    state = MapState()
    put(state, 5, a=1)
    with pytest.raises(ValueError):
        put(state, 5, a=2)


# ---- time


def test_a_key_ends_by_the_time_of_the_log_and_only_if_it_was_not_set_again() -> None:
    state = MapState()
    put(state, 1, ttl_ms=1_000, a=1, b=1)
    assert state.next_due_us == T0 + 1_000_000 and not state.due(T0 + 999_999)
    assert state.due(T0 + 1_000_000) == {"a": 1, "b": 1} == state.due(T0 + 1_000_000)
    early = state.apply(2, T0 + 500_000, Change(expire={"a": 1}))
    assert early.gone == [] and "a" in shown(state)
    put(state, 3, at_s=0.6, b=2)
    assert state.due(T0 + 2_000_000) == {"a": 1}
    late = state.apply(4, T0 + 1_000_000, Change(expire={"a": 1, "b": 1}))
    assert late.gone == ["a"] and shown(state) == {"b": 2}


def test_keys_that_are_set_again_and_again_do_not_pile_up() -> None:
    state = MapState()
    for seq in range(1, 2_000):
        put(state, seq, ttl_ms=1_000, a=seq)
    assert len(state._due) < 200 and state.due(T0 + 2_000_000) == {"a": 1_999}


# ---- presence


def test_all_entries_of_a_gateway_go_at_once() -> None:
    state = MapState()
    for seq, (session, node) in enumerate((("s1", "g1"), ("s2", "g2"), ("s3", "g1")), 1):
        put(state, seq, **{session: presence_value("alice", T0, None, node)})
    assert state.nodes() == {"g1", "g2"}
    assert state.apply(4, T0, Change(drop_node="g1")).gone == ["s1", "s3"]
    assert set(shown(state)) == {"s2"} and state.nodes() == {"g2"}


# ---- snapshots


def test_a_whole_map_is_loaded_from_its_pages() -> None:
    state = MapState()
    put(state, 1, ttl_ms=5_000, **{f"k{n}": "x" * 100 for n in range(50)})
    put(state, 2, last=presence_value("alice", 1, {"a": 1}, "g1"))
    whole = state.whole(1_000)
    pages = [whole.page(number) for number in range(len(whole))]
    assert len(pages) > 5 and pages_of(pages[0]) == (2, len(pages))
    other = MapState()
    for number, page in enumerate(pages):
        other.load(page, number)
    assert dict(other.items()) == dict(state.items())
    assert (other.seq, other.bytes, other.ts_us, other.nodes()) == (2, state.bytes, state.ts_us, {"g1"})
    assert other.due(T0 + 9_000_000, 99) == state.due(T0 + 9_000_000, 99)


def test_pages_of_different_maps_are_refused() -> None:
    state = MapState()
    put(state, 1, **{f"k{n}": "x" * 100 for n in range(20)})
    one = state.whole(1_000)
    put(state, 2, k0=1)
    two = state.whole(1_000)
    other = MapState()
    other.load(one.page(0), 0)
    with pytest.raises(ValueError):
        other.load(two.page(1), 1)
    assert len(other) == 0 == other.seq == other.bytes
    for garbage in (b"", b"\xc1", b"\x90", b"\x93\x01\x02\x03"):
        with pytest.raises(ValueError):
            other.load(garbage, 0)
        with pytest.raises(ValueError):
            pages_of(garbage)
