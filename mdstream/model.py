"""What gateway and client share: instruments, their reference data, channels, states, limits of numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_NUMBER = 2**53 - 1
"""Largest magnitude of ticks, lots, seq, epoch and timestamps: a JavaScript number holds it exactly."""

MAX_EXPONENT = 18
"""Largest magnitude of ``price_exp`` and ``size_exp``."""

MAX_TEXT_BYTES = 1024
"""UTF-8 bytes of a ``name``, a ``reason``, or a key of ``ref``."""

MAX_TRADE_ID_BYTES = 126
"""UTF-8 bytes of a trade's id."""

MAX_REF_BYTES = 65_536
"""Bytes of a whole ``ref``."""

MAX_REF_NESTING = 8
"""Arrays and maps inside each other in a ``ref``; the ``ref`` itself is not counted."""

DEPTHS = (0, 1, 5, 10, 20, 50, 100)
"""Served depths of a book; 0 is the full book."""

INTERVALS_MS = (0, 20, 50, 100, 250, 500, 1000)
"""Served conflation intervals; 0 is every change."""

GROUPS = tuple(
    sorted(
        digit * 10**zeros for digit in (1, 2, 5, 25) for zeros in range(7) if 1 < digit * 10**zeros <= 10**6
    )
)
"""Groups of ticks that are always served: what ladders and depth charts offer. Others are, while there is room."""

MAX_SYMBOL = 128
"""Characters of a symbol."""

_VENUE = re.compile(r"[A-Z0-9][A-Z0-9_.\-]{0,31}")
_INSTRUMENT = re.compile(rf"{_VENUE.pattern}:[^:]{{1,{MAX_SYMBOL}}}")


class Channel(StrEnum):
    BOOK = "book"
    TRADES = "trades"
    TICKER = "ticker"
    INSTRUMENTS = "instruments"
    BOARD = "board"
    CANDLES = "candles"
    EVENTS = "events"
    MAP = "map"
    PRESENCE = "presence"


INSTRUMENT_CHANNELS = (
    Channel.BOOK,
    Channel.TRADES,
    Channel.TICKER,
    Channel.INSTRUMENTS,
    Channel.BOARD,
    Channel.CANDLES,
)
"""Those of instruments. The others are of topics, see ``mdstream.topics``."""


class State(StrEnum):
    """The state of an instrument, for clients; ``RECOVERING`` outranks all others."""

    LIVE = "live"
    RECOVERING = "recovering"
    STALE = "stale"
    HALTED = "halted"
    CLOSED = "closed"


class StateCode(StrEnum):
    """Why an instrument is not live. The list is complete; it grows only together with ``docs/protocol.md``."""

    OPENING = "opening"
    GAP = "gap"
    REFUSED = "refused"
    NO_REF = "no_ref"
    NO_BOOK = "no_book"
    CONFLICT = "conflict"
    NATS_AWAY = "nats_away"
    FEED_DOWN = "feed_down"
    SILENT = "silent"
    VENUE_SILENT = "venue_silent"
    FENCED = "fenced"
    VENUE = "venue"
    STORAGE = "storage"
    OVERLOAD = "overload"


class VenueState(StrEnum):
    """The state of an instrument in ``status``, from the feed handler."""

    TRADING = "trading"
    HALTED = "halted"
    CLOSED = "closed"
    FEED_DOWN = "feed_down"


@dataclass(frozen=True, slots=True, order=True)
class InstrumentId:
    """A venue and the venue's own symbol; as text, ``SIM:BTC-USD``."""

    venue: str
    symbol: str

    @classmethod
    def parse(cls, text: str) -> InstrumentId:
        """Reads ``VENUE:SYMBOL``: upper-case venue, one colon, a symbol of 1 to 128 printable characters.

        Raises ValueError, which says what was wrong.
        """
        venue, colon, symbol = text.partition(":")
        if not colon:
            raise ValueError(f"instrument {text!r} has no colon; it reads VENUE:SYMBOL, as in SIM:BTC-USD")
        if not _VENUE.fullmatch(venue):
            raise ValueError(
                f"venue {venue!r} of {text!r} must be 1 to 32 of A-Z 0-9 _ . - and begin with a letter or digit"
            )
        if not symbol or len(symbol) > MAX_SYMBOL or ":" in symbol or not symbol.isprintable():
            raise ValueError(
                f"symbol {symbol!r} of {text!r} must be 1 to {MAX_SYMBOL} printable characters without a colon; "
                "one within it is written %3A"
            )
        return cls(venue, symbol)

    def __str__(self) -> str:
        return f"{self.venue}:{self.symbol}"


def are_instruments(texts: Sequence[str]) -> bool:
    """Whether ``InstrumentId.parse`` reads all of them; several times as quick."""
    return all(map(_INSTRUMENT.fullmatch, texts)) and "".join(texts).isprintable()


@dataclass(frozen=True, slots=True)
class Ref:
    """Reference data of an instrument: decimal value = ticks × 10^price_exp, lots × 10^size_exp.

    ``tick`` and ``lot`` are the venue's increments, in ticks and lots (at least 1). The exponents hold for all of ``epoch``,
    which is at least 1 on the bus. ``depth`` is how many levels of a side the venue gives at most; 0 is its whole book.
    ``extra`` keeps unknown keys.
    """

    price_exp: int
    size_exp: int
    tick: int = 1
    lot: int = 1
    name: str = ""
    epoch: int = 0
    depth: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
