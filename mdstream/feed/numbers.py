"""The numbers that feed handlers pass in, and their checks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mdstream.errors import FeedError
from mdstream.model import MAX_NUMBER, InstrumentId

DecimalLike = Decimal | str | SupportsIndex
"""An exact decimal number: Decimal, plain text (``-12.50``) or an integer. Never float."""

FlatLevels = Sequence[int] | NDArray[np.int64]
"""``[ticks, lots, ticks, lots, …]``"""

LevelLike = tuple[DecimalLike, DecimalLike]
"""A price and the total size at that price; size 0 deletes the level."""


def check_number(value: int, what: str, instrument: InstrumentId, *, least: int = 0) -> int:
    """Returns an integer in ``least`` … 2^53 − 1. Raises FeedError that names instrument and value."""
    try:
        number = index(value)
    except TypeError:
        raise FeedError(f"{instrument}: {what} {value!r} is not an integer") from None
    if not least <= number <= MAX_NUMBER:
        raise FeedError(f"{instrument}: {what} {number} is not in {least} … {MAX_NUMBER}")
    return number


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """The clock of all waiting and ageing: nobody can set it."""
    return time.monotonic_ns() // 1000


FIRST_TS_US = 10**14
"""March 1973. Milliseconds of any year that matters are less, and nanoseconds are more than MAX_NUMBER, in June 2255."""


def check_time(ts_us: int, instrument: InstrumentId) -> int:
    """Returns an event time that can be in µs. Raises FeedError that names the unit which it seems to have."""
    try:
        number = index(ts_us)
    except TypeError:
        raise FeedError(
            f"{instrument}: ts_us {ts_us!r} is not an integer; it is the event time in µs since 1970"
        ) from None
    if FIRST_TS_US <= number <= MAX_NUMBER:
        return number
    seems = {9: " (it seems to be in s)", 12: " (it seems to be in ms)", 18: " (it seems to be in ns)"}
    unit = seems.get(len(str(number)) - 1, "")
    raise FeedError(
        f"{instrument}: ts_us {number} is no event time in µs since 1970{unit}; it is in {FIRST_TS_US} … {MAX_NUMBER}"
    )
