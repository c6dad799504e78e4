"""The numbers that a feed handler hands in, and what to say of those that are refused."""

from __future__ import annotations

from decimal import Decimal
from operator import index
from typing import SupportsIndex

from mdstream.errors import FeedError
from mdstream.model import MAX_NUMBER, InstrumentId

DecimalLike = Decimal | str | SupportsIndex
"""A decimal number without rounding: Decimal, its plain text (``-12.50``), or a whole number. Never float."""

LevelLike = tuple[DecimalLike, DecimalLike]
"""A price and the total size at that price; size 0 deletes the level."""


def check_number(value: int, what: str, instrument: InstrumentId, *, least: int = 0) -> int:
    """An integer in ``least`` … 2^53 − 1; raises FeedError naming instrument and value otherwise."""
    try:
        number = index(value)
    except TypeError:
        raise FeedError(f"{instrument}: {what} {value!r} is no integer") from None
    if not least <= number <= MAX_NUMBER:
        raise FeedError(f"{instrument}: {what} {number} is not in {least} … {MAX_NUMBER}")
    return number
