from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from mdstream._core.codec.feed_encoder import pack_book, pack_snap, pack_trade


def test_levels_may_be_arrays() -> None:
    flat = np.array([[100, 5], [99, 6]])
    assert pack_snap(1, 2, 3, flat, []) == msgpack.packb([2, 1, 2, 3, [100, 5, 99, 6], []])


def test_long_sides() -> None:
    bids = list(range(70_000))
    assert pack_book(1, 2, 2, 3, bids, bids) == msgpack.packb([1, 1, 2, 2, 3, bids, bids])


def test_half_a_level_is_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        pack_book(1, 2, 2, 3, [100], [])


@pytest.mark.parametrize("side", [-1, 3])
def test_an_unknown_side_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"side was {side}"):
        pack_trade(1, 2, 3, 4, 5, side, "id")


@pytest.mark.parametrize(
    ("trade_id", "error", "message"),
    [
        ("é" * 64, ValueError, "128 bytes of UTF-8; at most 126"),
        (b"id", TypeError, "string or an integer"),
        (None, TypeError, "string or an integer"),
        (1.0, TypeError, "string or an integer"),
        (True, TypeError, "string or an integer"),
        (2**64, ValueError, "does not fit 64 bits"),
        (-(2**63) - 1, ValueError, "does not fit 64 bits"),
    ],
)
def test_an_id_that_cannot_be_sent_is_refused(trade_id: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pack_trade(1, 2, 3, 4, 5, 1, trade_id)
