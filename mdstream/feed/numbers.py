"""The numbers that feed handlers pass in, and their checks."""

from __future__ import annotations

from decimal import Decimal
from operator import index
from typing import SupportsIndex

from mdstream.errors import FeedError
from mdstream.model import MAX_NUMBER, InstrumentId

DecimalLike = Decimal | str | SupportsIndex
"""An exact decimal number: Decimal, plain text (``-12.50``) or an integer. Never float."""

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
