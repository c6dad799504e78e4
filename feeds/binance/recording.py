"""Recordings: lines of ``<local time in ns> <message>``, gzipped or not, with one symbol's streams and REST snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mdstream.errors import FeedError
from mdstream.feeds._lines import exact_exponent, read_lines
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot, Event, ServerShutdown, Trade, parse

_CUTS = (100, 500, 1000, 5000)
"""Levels a side that are usually asked for."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event, and when it was recorded by the recorder's clock."""

    local_ns: int
    event: Event


@dataclass(frozen=True, slots=True)
class Summary:
    """What a first pass finds: the symbols, the coarsest exponents that hold every number exactly, the number of snapshots.

    ``depth`` is how many levels a side the largest snapshot holds, if that is a number that the venue cuts at; else 0.
    """

    symbols: frozenset[str]
    price_exp: int
    size_exp: int
    snapshots: int
    depth: int = 0


def read_recording(path: Path) -> Iterator[Recorded]:
    """Yields the events of a recording in order. Raises FeedError that names the line, OSError if the file cannot be read."""
    for place, line in read_lines(path):
        stamp, _, text = line.partition(b" ")
        if not stamp.isdigit():
            raise FeedError(
                f"{place}: a line must be '<local ns> <json>', this one begins with {stamp[:40]!r}"
            )
        try:
            event = parse(text)
        except FeedError as error:
            raise FeedError(f"{place}: {error}") from None
        if event is not None:
            yield Recorded(int(stamp), event)


def summarize(path: Path) -> Summary:
    """Reads a whole recording to find its symbols and scale."""
    symbols: set[str] = set()
    prices: set[str] = set()
    sizes: set[str] = set()
    snapshots = depth = 0
    for recorded in read_recording(path):
        event = recorded.event
        if isinstance(event, DepthSnapshot):
            snapshots += 1
            depth = max(depth, len(event.bids), len(event.asks))
        elif not isinstance(event, ServerShutdown):
            symbols.add(event.symbol)
        if isinstance(event, Trade):
            prices.add(event.price)
            sizes.add(event.size)
        elif isinstance(event, DepthDiff | DepthSnapshot):
            for price, size in (*event.bids, *event.asks):
                prices.add(price)
                sizes.add(size)
    return Summary(
        frozenset(symbols),
        exact_exponent(prices),
        exact_exponent(sizes),
        snapshots,
        depth if depth in _CUTS else 0,
    )
