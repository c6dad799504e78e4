"""What the encoders refuse, and the sizes that no golden vector is long enough for."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np
import pytest

from mdstream._core.codec import encode
from mdstream.errors import SequenceError

SCALE = (-2, -8)
TRADE = (1, 2, 3, "buy", "id")


def delta(format: int = encode.JSON, bids: Any = (), exps: tuple[int, int] = SCALE, **fields: int) -> bytes:
    numbers = {"sub": 7, "first": 1, "last": 2, "ts_us": 3, "crc": 4} | fields
    return encode.delta(format, bids=bids, asks=[], price_exp=exps[0], size_exp=exps[1], **numbers)


@pytest.mark.parametrize("levels", [7, 8, 32_767, 32_768, 70_000])
def test_long_sides(levels: int) -> None:
    bids = [number for i in range(levels) for number in (levels - i, 2**53 - 1)]
    assert msgpack.unpackb(delta(encode.MSGPACK, bids))[5] == bids
    assert delta(encode.MSGPACK, bids) == msgpack.packb([1, 7, 1, 2, 3, bids, [], 4])
    prices = [price for price, _size in json.loads(delta(bids=bids))["bids"]]
    assert (len(prices), prices[0], prices[-1]) == (levels, f"{levels / 100:.2f}", "0.01")


def test_many_trades() -> None:
    many = [(10**15, i, 2**53 - 1, None, "\x01" * 126) for i in range(5_000)]
    text = json.loads(encode.trades(encode.JSON, 1, 2, 3, many, *SCALE))
    packed = msgpack.unpackb(encode.trades(encode.MSGPACK, 1, 2, 3, many, *SCALE))
    assert (
        [trade[0] for trade in text["trades"]] == [trade[0] for trade in packed[5]] == list(range(3, 5_003))
    )
    assert {trade[5] for trade in text["trades"]} == {trade[5] for trade in packed[5]} == {"\x01" * 126}


def test_levels_may_be_arrays() -> None:
    flat = [6_412_310, 5, 6_412_300, 0]
    expected = delta(bids=flat)
    assert (
        delta(bids=np.array(flat))
        == delta(bids=np.array(flat).reshape(2, 2))
        == delta(bids=tuple(flat))
        == expected
    )


@pytest.mark.parametrize(
    "fields", [{"sub": 2**32}, {"sub": -1}, {"first": 2**64}, {"ts_us": -1}, {"crc": 2**32}]
)
def test_a_number_that_does_not_fit_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(OverflowError):
        delta(**fields)


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format was 2"):
        delta(2)


@pytest.mark.parametrize("exps", [(-19, 0), (0, 19)])
def test_an_exponent_out_of_range_is_refused(exps: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="within ±18"):
        delta(exps=exps)


def test_an_unknown_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="'because'; it is one of subscribe, recover, epoch, slow, reload"):
        encode.snapshot(encode.JSON, 1, 2, 3, 4, [], [], 5, "because", *SCALE)


def test_no_trades_are_no_message() -> None:
    with pytest.raises(SequenceError, match="trades 5 to 4 are no range"):
        encode.trades(encode.JSON, 1, 2, 5, [], *SCALE)


def test_a_quote_without_size_is_none() -> None:
    empty = encode.ticker(encode.JSON, 1, 2, 3, 4, (5, 0), None, None, *SCALE)
    assert empty == encode.ticker(encode.JSON, 1, 2, 3, 4, None, None, None, *SCALE)
