"""Sizes that their scale does not hold: a coarser scale, and the sizes rounded to it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation
from operator import index
from typing import SupportsIndex

from mdstream.errors import FeedError
from mdstream.feed.numbers import DecimalLike
from mdstream.model import MAX_EXPONENT, MAX_NUMBER

HEADROOM = 10
"""A scale is chosen so that sizes may still grow by this factor."""

_EXACT = Context(prec=100)


def size_exp_for(largest: DecimalLike, finest: int = -MAX_EXPONENT) -> int:
    """The finest ``size_exp``, at least ``finest``, in which sizes up to ten times ``largest`` stay within 2^53 − 1 lots.

    ``size_exp_for("1234567890.12345678", -8)`` is −5. Raises FeedError if not even whole units are coarse enough.
    """
    size = exact(largest)
    if size is None:
        raise FeedError(f"{largest!r} is no exact number; give a Decimal, a string or an integer")
    for exp in range(finest, 1):
        if abs(size) * HEADROOM <= Decimal(MAX_NUMBER).scaleb(exp, _EXACT):
            return exp
    raise FeedError(f"{largest} is beyond 2^53 − 1 even in whole units; it cannot be published")


def coarser_exp(sizes: Iterable[object], size_exp: int) -> int | None:
    """The exponent to use instead if a size is beyond 2^53 − 1 lots; None if none is, or if no scale holds it."""
    largest = max((abs(size) for size in map(exact, sizes) if size is not None), default=Decimal(0))
    if largest <= Decimal(MAX_NUMBER).scaleb(size_exp, _EXACT):
        return None
    try:
        return size_exp_for(largest, size_exp)
    except FeedError:
        return None


def rounded(size: DecimalLike, size_exp: int) -> DecimalLike:
    """Cut to a multiple of 10^size_exp, but never to nothing: a size of 0 would delete its level."""
    number = exact(size)
    if number is None or number <= 0:
        return size
    lot = Decimal(1).scaleb(size_exp)
    return max(number.quantize(lot, ROUND_DOWN, _EXACT), lot)


def rounded_lots(lots: int, factor: int) -> int:
    """As ``rounded``, of lots of which ``factor`` become one."""
    return max(lots // factor, 1) if lots > 0 else lots


def exact(value: object) -> Decimal | None:
    """A finite number that ``parse_levels`` would take, else None."""
    if not isinstance(value, str | Decimal | SupportsIndex) or isinstance(value, float | bool):
        return None
    try:
        number = Decimal(value) if isinstance(value, str | Decimal) else Decimal(index(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number.adjusted() < 40 else None
