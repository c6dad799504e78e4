"""What a venue's synchronisation tells a handler to do with one book."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Levels = Sequence[tuple[str, str]]
"""(price, size) in the venue's decimal texts."""


@dataclass(frozen=True, slots=True)
class Load:
    """Replace the whole book, best first. ``venue_seq`` is the venue's own number, 0 if it has none."""

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
    """The book is in doubt until the next Load."""

    reason: str


BookAction = Load | Apply | Lost
