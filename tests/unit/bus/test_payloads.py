from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.bus.payloads import numbers, snap_number
from mdstream.errors import PayloadError

LEVELS = [number for ticks in range(2000, 0, -1) for number in (ticks, 1)]


@pytest.mark.parametrize(("epoch", "seq"), [(1, 0), (2**53 - 1, 2**53 - 1)])
def test_the_number_of_a_snapshot_is_read_from_its_head(epoch: int, seq: int) -> None:
    payload = msgpack.packb([2, epoch, seq, 2**53 - 1, LEVELS, []])
    assert snap_number(payload) == (epoch, seq)


@pytest.mark.parametrize(
    "value",
    [
        [2, 1],
        [1, 1, 1, 0, [], []],
        [2, -1, 1, 0, [], []],
        [2, 1, "1", 0, [], []],
        [2, True, 1, 0, [], []],
        {},
        7,
    ],
)
def test_what_is_no_snapshot_is_refused(value: object) -> None:
    with pytest.raises(PayloadError, match="snap"):
        snap_number(msgpack.packb(value))


@given(st.binary(max_size=80))
def test_any_bytes_give_a_number_or_a_payload_error(payload: bytes) -> None:
    try:
        epoch, seq = snap_number(payload)
    except PayloadError:
        return
    assert 0 <= epoch < 2**53 and 0 <= seq < 2**53


def test_the_numbers_of_batches() -> None:
    book = msgpack.packb([1, 5, 1, 3, 0, [], []]) + msgpack.packb([1, 5, 4, 4, 0, [], []])
    assert numbers("book", book) == [(5, 1, 3), (5, 4, 4)]
    trade = msgpack.packb([3, 5, 9, 0, 1, 1, 0, "id"])
    assert numbers("trade", trade) == [(5, 9, 9)]
    with pytest.raises(PayloadError):
        numbers("trade", book)
