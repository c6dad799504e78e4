"""The book as the venue defines it: cut to the subscribed depth and checked by its checksum. No I/O.

Source: Kraken WebSocket API, "Spot WebSockets v2: Guides: Book checksum" and v1 "Calculate book checksum".
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from zlib import crc32

from mdstream.errors import FeedError

CHECKED_LEVELS = 10

VenueLevel = tuple[str, str]
"""Price and size as the venue's texts; size 0 deletes."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The decimals of prices and sizes in the checksum. JSON numbers lose their trailing zeros."""

    price: int
    size: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update changed in the cut book. Levels that it deleted or pushed out have size 0."""

    bids: list[VenueLevel]
    asks: list[VenueLevel]
    any: bool
    """Whether the book is another one than before."""


class ChecksumMismatch(FeedError):
    """The book differs from the venue's; only a new snapshot helps."""


class _Side:
    """Levels of one side by integer price, best first by ``sign`` × price."""

    def __init__(self, sign: int, precision: Precision) -> None:
        self._sign = sign
        self._precision = precision
        self._keys: list[int] = []
        self._levels: dict[int, tuple[VenueLevel, str]] = {}

    def set(self, level: VenueLevel) -> tuple[int, str | None]:
        """Sets or deletes a level; returns its key, and its ``digits`` before."""
        price = _digits(level[0], self._precision.price)
        key = self._sign * price
        size = _digits(level[1], self._precision.size)
        if not size:
            before = self._levels.pop(key, None)
            if before is not None:
                del self._keys[bisect_left(self._keys, key)]
        else:
            before = self._levels.get(key)
            if before is None:
                insort(self._keys, key)
            self._levels[key] = (level, f"{price}{size}")
        return key, None if before is None else before[1]

    def digits(self, key: int) -> str | None:
        """A level as the checksum takes it; None if it is not there."""
        return self._levels[key][1] if key in self._levels else None

    def cut(self, depth: int) -> dict[int, VenueLevel]:
        """Drops levels beyond ``depth``; returns them by key as deletes, which the venue does not send."""
        beyond = self._keys[depth:]
        del self._keys[depth:]
        return {key: (self._levels.pop(key)[0][0], "0") for key in beyond}

    def checked_text(self) -> str:
        return "".join(self._levels[key][1] for key in self._keys[:CHECKED_LEVELS])

    def levels(self) -> list[VenueLevel]:
        return [self._levels[key][0] for key in self._keys]


class VenueBook:
    """One pair's book at the subscribed depth. After an error it is undefined until the next ``load``."""

    def __init__(self, pair: str, depth: int, precision: Precision) -> None:
        self.pair = pair
        self.depth = depth
        self.precision = precision
        self._bids = _Side(-1, precision)
        self._asks = _Side(1, precision)

    @property
    def bids(self) -> list[VenueLevel]:
        """Best first."""
        return self._bids.levels()

    @property
    def asks(self) -> list[VenueLevel]:
        """Best first."""
        return self._asks.levels()

    def load(self, bids: Iterable[VenueLevel], asks: Iterable[VenueLevel], checksum: int | None) -> None:
        """Replaces the book with a snapshot. Raises ChecksumMismatch; v1 snapshots have no checksum."""
        self._bids = _Side(-1, self.precision)
        self._asks = _Side(1, self.precision)
        self.update(bids, asks, checksum)

    def update(self, bids: Iterable[VenueLevel], asks: Iterable[VenueLevel], checksum: int | None) -> Changes:
        """Applies one message in its order, cuts to the depth, checks the checksum. Raises ChecksumMismatch, FeedError."""
        (new_bids, bids_differ), (new_asks, asks_differ) = (
            self._apply(side, levels) for side, levels in ((self._bids, bids), (self._asks, asks))
        )
        changes = Changes(new_bids, new_asks, bids_differ or asks_differ)
        if checksum is not None and checksum != self.checksum():
            raise ChecksumMismatch(
                f"{self.pair}: the venue's checksum is {checksum}, this book's {self.checksum()} "
                f"(best bid {_top(self.bids)}, best ask {_top(self.asks)})"
            )
        return changes

    def _apply(self, side: _Side, levels: Iterable[VenueLevel]) -> tuple[list[VenueLevel], bool]:
        newest: dict[int, VenueLevel] = {}
        before: dict[int, str | None] = {}
        for level in levels:
            key, was = side.set(level)
            # A message may name a price twice: the last one counts.
            newest[key] = level
            before.setdefault(key, was)
        cut = side.cut(self.depth)
        differs = not cut.keys() <= before.keys()
        differs = differs or any(side.digits(key) != was for key, was in before.items())
        return list((newest | cut).values()), differs

    def checksum(self) -> int:
        return crc32((self._asks.checked_text() + self._bids.checked_text()).encode())


def _digits(text: str, decimals: int) -> int:
    """The number's digits with ``decimals`` decimals, without point and leading zeros, as the checksum takes them."""
    try:
        scaled = Decimal(text).scaleb(decimals)
        digits = int(scaled)
    except (InvalidOperation, ValueError, OverflowError):
        raise FeedError(f"{text!r} is not a decimal number") from None
    if digits != scaled or digits < 0:
        raise FeedError(f"{text!r} is not a number from 0 on with at most {decimals} decimals")
    return digits


def _top(levels: Sequence[VenueLevel]) -> str:
    return " × ".join(levels[0]) if levels else "none"
