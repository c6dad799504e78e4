"""Recordings of both versions of the API: lines of bare JSON, or ``<unix s>: <json>`` with ``<->`` and ``<-`` notes.

``URL <-> <unix s>`` notes a new connection, ``URL <- <unix s>: <json>`` a message to the venue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import product
from pathlib import Path

from mdstream.errors import FeedError
from mdstream.feeds._lines import exact_exponent, exponent, read_lines
from mdstream.feeds.kraken.book import ChecksumMismatch, Precision, VenueBook
from mdstream.feeds.kraken.events import Answer, BookMessage, Event, PairInfo, TradeMessage, parse

DEPTHS = (10, 25, 100, 500, 1000)
"""The depths that the venue offers."""

_RECEIVED = re.compile(rb"(\d+(?:\.\d+)?): ")
_NOTE = re.compile(rb"\S+ (<->|<-) (\d+(?:\.\d+)?)")
_LOST_ZEROS = 9
"""The most trailing zeros that all numbers of a recording may have lost."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A new connection: earlier books do not continue."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event, and when it was recorded by the recorder's clock (None if the recording does not tell)."""

    local_ns: int | None
    event: Event | Connected


@dataclass(slots=True)
class PairSummary:
    """What a first pass finds of a pair: the coarsest exponents that hold every number, and the checksum's precision."""

    pair: str
    depth: int
    precision: Precision
    price_exp: int
    size_exp: int


def read_recording(path: Path) -> Iterator[Recorded]:
    """Yields the events of a recording in order. Raises FeedError that names the line, OSError if the file cannot be read."""
    for place, line in read_lines(path):
        if note := _NOTE.match(line):
            if note[1] == b"<->":
                yield Recorded(_ns(note[2]), Connected())
            continue
        stamp = _RECEIVED.match(line)
        local_ns = _ns(stamp[1]) if stamp else None
        try:
            events = parse(line[stamp.end() :] if stamp else line)
        except FeedError as error:
            raise FeedError(f"{place}: {error}") from None
        for event in events:
            yield Recorded(local_ns, event)


def _ns(seconds: bytes) -> int:
    return int(Decimal(seconds.decode()) * 1_000_000_000)


@dataclass(slots=True)
class _Seen:
    """What the first pass collects of one pair."""

    prices: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)
    traded: list[TradeMessage] = field(default_factory=list)
    first: BookMessage | None = None
    depth: int | None = None
    info: PairInfo | None = None

    def book(self, message: BookMessage) -> None:
        self.depth = self.depth or message.depth
        if self.first is None and message.snapshot:
            self.first = message
        for price, size in (*message.bids, *message.asks):
            self.prices.add(price)
            self.sizes.add(size)

    def summary(self, pair: str) -> PairSummary:
        traded_prices = {trade.price for trade in self.traded}
        traded_sizes = {trade.size for trade in self.traded}
        return PairSummary(
            pair,
            self.depth or self._guessed_depth(),
            self._precision(),
            exact_exponent(self.prices | traded_prices),
            exact_exponent(self.sizes | traded_sizes),
        )

    def _guessed_depth(self) -> int:
        levels = max(len(self.first.bids), len(self.first.asks)) if self.first else 0
        return next((depth for depth in DEPTHS if depth >= levels), DEPTHS[-1])

    def _precision(self) -> Precision:
        if self.info is not None:
            return self.info.precision
        price = -min(map(exponent, self.prices), default=0)
        size = -min(map(exponent, self.sizes), default=0)
        if self.first is None or self.first.checksum is None:
            return Precision(price, size)
        return _proven_precision(self.first, self.first.checksum, price, size)


def _proven_precision(snapshot: BookMessage, checksum: int, price: int, size: int) -> Precision:
    """The fewest decimals, at least those seen, that give the right checksum: JSON numbers lose trailing zeros."""
    for more_price, more_size in sorted(product(range(_LOST_ZEROS), repeat=2), key=sum):
        precision = Precision(price + more_price, size + more_size)
        try:
            book = VenueBook(snapshot.pair, len(snapshot.bids) + len(snapshot.asks), precision)
            book.load(snapshot.bids, snapshot.asks, checksum)
        except ChecksumMismatch:
            continue
        return precision
    return Precision(price, size)


def summarize(path: Path) -> dict[str, PairSummary]:
    """Reads a whole recording to find its pairs, in order of appearance, with their depth and decimals."""
    seen: dict[str, _Seen] = {}
    answered: dict[str, int] = {}
    for recorded in read_recording(path):
        event = recorded.event
        match event:
            case BookMessage():
                seen.setdefault(event.pair, _Seen()).book(event)
            case TradeMessage():
                seen.setdefault(event.pair, _Seen()).traded.append(event)
            case PairInfo():
                seen.setdefault(event.pair, _Seen()).info = event
            case Answer() if "depth" in event.result:
                answered[str(event.result.get("symbol"))] = int(event.result["depth"])
    for pair, depth in answered.items():
        if pair in seen:
            seen[pair].depth = depth
    # The instrument channel names every pair of the venue: take those with a book.
    return {pair: each.summary(pair) for pair, each in seen.items() if each.first is not None}
