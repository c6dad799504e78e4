from __future__ import annotations

import zlib
from array import array

import numpy as np
import pytest

from mdstream._core.orderbook.checksum import crc32_of, crc_of

BIDS = [-5, 100, -6, 2**53 - 1]
TEXT = b"-5:100:-6:9007199254740991"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 63, 64, 65, 79, 80, 127, 128, 1_000])
@pytest.mark.parametrize("tables", [False, True])
def test_crc32_is_that_of_zlib(size: int, tables: bool) -> None:
    data = bytes(i * 37 & 255 for i in range(size))
    assert crc32_of(data, tables) == zlib.crc32(data)


@pytest.mark.parametrize(
    "bids", [BIDS, tuple(BIDS), array("q", BIDS), np.array(BIDS), np.array(BIDS).reshape(2, 2)]
)
def test_levels_may_be_sequences_or_arrays(bids: list[int]) -> None:
    assert crc_of(bids, []) == crc_of([], bids) == zlib.crc32(TEXT)


def test_an_empty_view_has_the_checksum_of_no_text() -> None:
    assert crc_of([], []) == 0


def test_only_the_best_ten_levels_count() -> None:
    twelve = [number for i in range(12) for number in (100 - i, i + 1)]
    assert crc_of(twelve, twelve) == crc_of(twelve[:20], twelve[:20]) != crc_of(twelve[:18], twelve[:20])
