from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.bus.usage import UsageRecord, Use, decode_record, encode_record, encode_use

MINUTE = 29_400_000
BEGINS = datetime.fromtimestamp(MINUTE * 60, UTC)
numbers = st.integers(0, 2**53 - 1)
uses = st.lists(st.builds(Use, st.text(), st.text(), st.none() | numbers, numbers), max_size=5)


@given(st.text(), uses)
def test_what_is_encoded_is_decoded(node: str, uses: list[Use]) -> None:
    payload = encode_record(node, MINUTE, map(encode_use, uses))
    assert decode_record(payload) == UsageRecord(node, BEGINS, uses)


def test_a_record_is_plain_json() -> None:
    payload = encode_record(
        "gw1",
        MINUTE,
        [encode_use(Use("alice", "SIM:A", 20, 0)), encode_use(Use("bob", "SIM:B", None, 900_000))],
    )
    assert json.loads(payload) == {
        "version": 1,
        "node": "gw1",
        "minute": "2025-11-24T16:00:00Z",
        "uses": [["alice", "SIM:A", 20, 0], ["bob", "SIM:B", None, 900_000]],
    }


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"minute": "2026-11-29T16:05:00"}, {"minute": 5}, {"node": 1}, {"uses": [["a", "b", -1, 0]]},
     {"uses": [["a", "b", 0]]}, {"uses": [["a", "b", 0, 0, 0]]}, {"uses": None}],
)  # fmt: skip
def test_what_is_no_record_is_refused(change: dict[str, object]) -> None:
    good = {"version": 1, "node": "gw1", "minute": "2026-11-29T16:05:00Z", "uses": []}
    decode_record(json.dumps(good).encode())
    with pytest.raises(ValueError):
        decode_record(json.dumps(good | change).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode_record(payload)
