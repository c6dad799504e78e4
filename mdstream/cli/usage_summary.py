"""Adds up usage records: in how many minutes a user had an instrument. A minute counts once, on however many gateways."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from mdstream.bus.usage import UsageRecord, Use
from mdstream.model import MAX_NUMBER

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)


class Total(NamedTuple):
    """In so many ``minutes`` of a ``period`` this was the greatest depth: 0 the full book, None trades alone."""

    period: datetime | None
    """When a day or a minute begins; None: all of the time that was asked for."""
    subject: str
    instrument: str
    delay_ms: int
    depth: int | None
    minutes: int


class Summary:
    """Of the minutes that begin at ``since`` or later and before ``until``. Both have a time zone."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._since = since
        self._until = until
        self._minutes: dict[tuple[str, str, int], dict[tuple[datetime, int], int]] = {}
        """By subject, instrument and delay, then by day and rank of the depth: a bit for each minute of the day."""

    def add(self, record: UsageRecord) -> None:
        if not self._since <= record.minute < self._until:
            return
        minute = record.minute.astimezone(UTC)
        day = minute.replace(hour=0, minute=0, second=0, microsecond=0)
        bit = 1 << (minute - day) // MINUTE
        for use in record.uses:
            bits = self._minutes.setdefault((use.subject, use.instrument, use.delay_ms), {})
            key = day, _rank(use)
            bits[key] = bits.get(key, 0) | bit

    def totals(self, per: str) -> Iterator[Total]:
        """``per`` is ``total``, ``day`` or ``minute``. In the order of subject, instrument, delay, period; the greatest depth first."""
        for (subject, instrument, delay_ms), bits in sorted(self._minutes.items()):
            for (period, rank), minutes in sorted(_counts(bits, per).items(), key=_order):
                yield Total(period, subject, instrument, delay_ms, _depth(rank), minutes)


def _counts(bits: dict[tuple[datetime, int], int], per: str) -> dict[tuple[datetime | None, int], int]:
    """Minutes by period and rank, each minute at its greatest rank alone."""
    counts: dict[tuple[datetime | None, int], int] = {}
    counted: dict[datetime, int] = {}
    for day, rank in sorted(bits, key=lambda key: -key[1]):
        new = bits[day, rank] & ~counted.get(day, 0)
        counted[day] = counted.get(day, 0) | new
        for period, minutes in _periods(day, new, per):
            counts[period, rank] = counts.get((period, rank), 0) + minutes
    return counts


def _periods(day: datetime, bits: int, per: str) -> Iterator[tuple[datetime | None, int]]:
    if per == "minute":
        yield from ((day + number * MINUTE, 1) for number in range(DAY // MINUTE) if bits >> number & 1)
    elif bits:
        yield (day if per == "day" else None), bits.bit_count()


def _order(item: tuple[tuple[datetime | None, int], int]) -> tuple[float, int]:
    (period, rank), _ = item
    return (period.timestamp() if period is not None else 0.0, -rank)


def _rank(use: Use) -> int:
    """Trades alone are less than any depth, the full book is more."""
    return -1 if use.depth is None else use.depth or MAX_NUMBER


def _depth(rank: int) -> int | None:
    return None if rank < 0 else 0 if rank == MAX_NUMBER else rank
