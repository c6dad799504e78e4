"""Patterns of instruments: ``*``, ``SIM:*``, ``BINANCE:BTC*``, ``BINANCE:*USDT``, ``*:BTC-USD``, ``SIM:BTC-USD``.

A pattern reads as an instrument does. ``*`` may stand for the whole venue, and once in the symbol for any characters, also none. It
never reaches across the colon, so that ``BINANCE:*`` does not match ``BINANCEUS:BTC``. Upper and lower case are different.
"""

from __future__ import annotations

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


class PatternSet:
    """Patterns, each with a mask; finds the masks of all that match a name, in a time that does not depend on their number."""

    def __init__(self) -> None:
        self._venues: dict[str, _Symbols] = {}

    def add(self, pattern: Pattern, mask: int) -> None:
        symbols = self._venues.setdefault(pattern.venue, _Symbols())
        symbols.add(pattern, mask)

    def match(self, instrument: str) -> int:
        """All masks of the patterns that match, joined; 0 if none does. Any text will do, instrument or not."""
        venue, _, symbol = instrument.partition(":")
        mask = 0
        for symbols in (self._venues.get(venue), self._venues.get(ANY)):
            if symbols is not None:
                mask |= symbols.match(symbol)
        return mask


class _Symbols:
    """The patterns of one venue: whole symbols, and starts by their length."""

    __slots__ = ("_lengths", "_starts", "_whole")

    def __init__(self) -> None:
        self._whole: dict[str, int] = {}
        self._starts: dict[str, dict[str, int]] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, pattern: Pattern, mask: int) -> None:
        if pattern.end is None:
            self._whole[pattern.start] = self._whole.get(pattern.start, 0) | mask
            return
        ends = self._starts.setdefault(pattern.start, {})
        ends[pattern.end] = ends.get(pattern.end, 0) | mask
        self._lengths = tuple(sorted({len(start) for start in self._starts}))

    def match(self, symbol: str) -> int:
        mask = self._whole.get(symbol, 0)
        for length in self._lengths:
            if length > len(symbol):
                break
            ends = self._starts.get(symbol[:length])
            if ends is not None:
                mask |= _match_ends(ends, symbol, length)
        return mask


def _match_ends(ends: dict[str, int], symbol: str, length: int) -> int:
    mask = 0
    for end, each in ends.items():
        if symbol.endswith(end) and len(symbol) >= length + len(end):
            mask |= each
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
