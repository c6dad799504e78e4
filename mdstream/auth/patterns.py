"""Patterns of instruments: ``*``, ``SIM:*``, ``BINANCE:BTC*``, ``BINANCE:*USDT``, ``*:BTC-USD``, ``SIM:BTC-USD``.

A pattern reads as an instrument does. ``*`` may stand for the whole venue, and once in the symbol for any characters, also none. It
never reaches across the colon, so that ``BINANCE:*`` does not match ``BINANCEUS:BTC``. Upper and lower case are different.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mdstream.model import InstrumentId

ANY = "*"
MAX_PATTERN = 161
"""Characters: 32 of a venue, the colon, 128 of a symbol."""
_SHAPE = "must be *, or like VENUE:SYMBOL, VENUE:*, VENUE:BTC*, VENUE:*USD or *:SYMBOL: an upper-case venue and at most one * in the symbol"


class Pattern(NamedTuple):
    """``venue`` is a venue or ``*``. The symbol begins with ``start`` and ends with ``end``; it is ``start`` where ``end`` is None."""

    venue: str
    start: str
    end: str | None

    @classmethod
    def parse(cls, text: object) -> Pattern:
        """Raises ValueError that says how patterns look."""
        if not isinstance(text, str):
            raise ValueError(f"is no string; it {_SHAPE}")
        if text == ANY:
            return cls(ANY, "", "")
        venue, _, symbol = text.partition(":")
        start, star, end = symbol.partition(ANY)
        sample = f"{'X' if venue == ANY else venue}:{symbol.replace(ANY, 'X')}"
        if len(text) > MAX_PATTERN or ANY in end or not _is_instrument(sample):
            raise ValueError(f"is {clipped(text)!r}; it {_SHAPE}")
        return cls(venue, start, end if star else None)

    def matches(self, venue: str, symbol: str) -> bool:
        if self.venue not in (ANY, venue) or not symbol.startswith(self.start):
            return False
        return symbol == self.start if self.end is None else symbol.endswith(self.end, len(self.start))

    def overlaps(self, other: Pattern) -> bool:
        """Whether any name could match both."""
        if self.venue != other.venue and ANY not in (self.venue, other.venue):
            return False
        if self.end is None:
            return other.matches(other.venue, self.start)
        if other.end is None:
            return self.matches(self.venue, other.start)
        starts = self.start.startswith(other.start) or other.start.startswith(self.start)
        return starts and (self.end.endswith(other.end) or other.end.endswith(self.end))


class PatternSet:
    """Patterns, each with a mask; finds the masks of all that match a name, in a time that hardly depends on their number."""

    def __init__(self, patterns: Iterable[tuple[Pattern, int]]) -> None:
        by_venue: dict[str, list[tuple[Pattern, int]]] = {ANY: []}
        for each in patterns:
            by_venue.setdefault(each[0].venue, []).append(each)
        self._every = _Symbols(by_venue.pop(ANY))
        """Those for every venue."""
        self._venues = {venue: _Symbols(given) for venue, given in by_venue.items()}

    def match(self, instrument: str) -> int:
        """All masks of the patterns that match, joined; 0 if none does. Any text will do, instrument or not."""
        venue, _, symbol = instrument.partition(":")
        mask = self._every.match(symbol)
        named = self._venues.get(venue)
        return mask if named is None else mask | named.match(symbol)


class _Symbols:
    """The patterns for one venue, or for all: whole symbols, beginnings by their length, and those that also say how a symbol ends, by the
    lengths of both."""

    __slots__ = ("_ends", "_lengths", "_starts", "_whole")

    def __init__(self, patterns: Iterable[tuple[Pattern, int]]) -> None:
        self._whole: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[tuple[int, int], dict[tuple[str, str], int]] = {}
        for (_, start, end), mask in patterns:
            if end:
                masks = self._ends.setdefault((len(start), len(end)), {})
                masks[start, end] = masks.get((start, end), 0) | mask
            else:
                masks_of = self._whole if end is None else self._starts
                masks_of[start] = masks_of.get(start, 0) | mask
        self._lengths = tuple(sorted({len(start) for start in self._starts}))

    def match(self, symbol: str) -> int:
        mask = self._whole.get(symbol, 0)
        for length in self._lengths:
            mask |= self._starts.get(symbol[:length], 0)
        size = len(symbol)
        for (first, last), masks in self._ends.items():
            if first + last <= size:
                mask |= masks.get((symbol[:first], symbol[size - last :]), 0)
        return mask


def _is_instrument(text: str) -> bool:
    try:
        InstrumentId.parse(text)
    except ValueError:
        return False
    return True


def clipped(text: str) -> str:
    """At most as much as a valid name has."""
    return text if len(text) <= MAX_PATTERN else text[:MAX_PATTERN] + "…"
