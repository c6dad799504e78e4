"""What a handler must do with one book, as the venue's synchronisation tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Levels = Sequence[tuple[str, str]]
"""(price, size) in the venue's decimal texts."""


@dataclass(frozen=True, slots=True)
class Load:
    """Replace the whole book; levels best first. ``venue_seq`` is the venue's own number, 0 if it has none."""

    bids: Levels
    asks: Levels
    ts_us: int
    venue_seq: int = 0


@dataclass(frozen=True, slots=True)
class Apply:
    """Apply one atomic update."""

    bids: Levels
    asks: Levels
    ts_us: int
    venue_seq: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """Do not trust the book until the next Load."""

    reason: str


BookAction = Load | Apply | Lost
