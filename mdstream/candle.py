"""Candles, as they are stored, sent and shown: open, high, low, close and volume of the trades of a span of time."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final, NamedTuple

SPANS: Final = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86_400}
"""Seconds of each span. Every candle begins at a multiple of its span since 1970-01-01 00:00 UTC."""

MAX_HISTORY: Final = 1_000
"""Closed candles that a client may ask for."""

CLOSED: Final = 1
INCOMPLETE: Final = 2
SATURATED: Final = 4
"""``Candle.flags``: its span is over; trades in it were lost for good, or it began before the service did; its volume is greater than
``MAX_NUMBER``, which stands in its place."""


_EXACT: Final = Context(prec=60)


class Prices(NamedTuple):
    """The prices and the volume of a candle as exact decimals."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Candle(NamedTuple):
    """One candle. Prices are ticks and the volume is lots, in the scale of the candle itself.

    ``open`` is the first and ``close`` the last trade by number. ``first_seq`` and ``last_seq`` are numbers of ``epoch``, the newest
    epoch in it. Of two candles with one ``start_s``, that with the greater ``rev`` holds.
    """

    start_s: int
    rev: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    epoch: int
    first_seq: int
    last_seq: int
    price_exp: int
    size_exp: int
    flags: int

    @property
    def is_closed(self) -> bool:
        return self.flags & CLOSED != 0

    @property
    def is_incomplete(self) -> bool:
        return self.flags & INCOMPLETE != 0

    @property
    def prices(self) -> Prices:
        """Its exact decimal values."""

        def price(ticks: int) -> Decimal:
            return Decimal(ticks).scaleb(self.price_exp, _EXACT)

        volume = Decimal(self.volume).scaleb(self.size_exp, _EXACT)
        return Prices(price(self.open), price(self.high), price(self.low), price(self.close), volume)
