"""What a venue's synchronisation tells a handler to do with one book, and doing it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mdstream.feed import Instrument

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


Step = Load | Apply | Lost


def perform(instrument: Instrument, steps: Iterable[Step]) -> None:
    """Publishes the steps. Raises FeedError where the publisher refuses one: the book is then in doubt."""
    for step in steps:
        match step:
            case Load():
                instrument.replace(step.bids, step.asks, ts_us=step.ts_us)
                if instrument.state == "feed_down":
                    instrument.status("trading", reason="")
            case Apply():
                instrument.update(step.bids, step.asks, ts_us=step.ts_us)
            case Lost():
                instrument.status("feed_down", reason=step.reason)
