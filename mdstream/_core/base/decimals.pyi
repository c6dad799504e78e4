"""_Exact decimals to integers of a given exponent and back: value = integer × 10^exp, magnitude at most 2^53 - 1.

Everywhere: ValueError if the value is no finite decimal number, would have to be rounded (off tick) or is out of range, or
if the exponent is beyond ±18. Text reads like ``-12.50``: no exponent, no ``+``, no spaces; zeros at the end do not matter.
"""

from array import array
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import SupportsIndex, TypeAlias

_Exact: TypeAlias = Decimal | str | SupportsIndex

def ticks_of(text: str, exp: int) -> int:
    """``ticks_of("64123.10", -2)`` is 6412310."""

def to_integer(value: _Exact, exp: int) -> int:
    """As ``ticks_of``, of any exact number; an int is the value itself, not ticks. TypeError for a float or a bool."""

def parse_levels(pairs: Iterable[Sequence[_Exact]], price_exp: int, size_exp: int) -> array[int]:
    """Pairs of price and size to a flat ``array("q")``, ``[ticks, lots, …]``; errors name the level, from 0."""

def format_decimal(value: int, exp: int) -> str:
    """The value with exactly ``-exp`` decimals, an integer if ``exp`` ≥ 0: ``format_decimal(-5, -2)`` is "-0.05"."""
