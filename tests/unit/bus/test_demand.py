"""What gateways tell each other about what they serve."""

from __future__ import annotations

import pytest

from mdstream.bus.demand import MOST_BYTES, MOST_INSTRUMENTS, decode_demand, encode_demand


def test_it_is_read_as_it_was_written() -> None:
    names = ["SIM:BTC-USD", "SIM:ETH-USD"]
    assert encode_demand(names) == b'{"instruments":["SIM:BTC-USD","SIM:ETH-USD"],"version":1}'
    assert decode_demand(encode_demand(names)) == names


def test_it_is_bounded_in_instruments_and_bytes() -> None:
    many = [f"SIM:S{i}" for i in range(2 * MOST_INSTRUMENTS)]
    assert decode_demand(encode_demand(many)) == many[:MOST_INSTRUMENTS]
    long = [f"SIM:{i:04}{'x' * 124}" for i in range(MOST_INSTRUMENTS)]
    payload = encode_demand(f"{name}{'y' * 100}" for name in long)
    assert len(payload) <= MOST_BYTES


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"instruments":"SIM:A"}',
        b'{"instruments":["SIM:A"],"version":2}',
        b'{"instruments":[1]}',
        b"[" * 100_000,
        b'{"instruments":["SIM:A"]}' + b" " * MOST_BYTES,
    ],
)
def test_what_is_no_such_message_says_nothing(payload: bytes) -> None:
    assert decode_demand(payload) == []


def test_what_is_no_instrument_is_left_out() -> None:
    assert decode_demand(b'{"instruments":["SIM:A","sim:b","*","md.>","SIM:C"]}') == ["SIM:A", "SIM:C"]
