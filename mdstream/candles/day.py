"""Statistics of the last 24 hours, from candles of a minute; without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np

from mdstream.bus.candles import Summary
from mdstream.candle import INCOMPLETE, SATURATED, Candle
from mdstream.candles.bar import Bar
from mdstream.model import MAX_NUMBER

MINUTE_S: Final = 60
MINUTES: Final = 1_440
_START, _OPEN, _HIGH, _LOW, _VOLUME, _COUNT, _FLAGS, _PRICE_EXP, _SIZE_EXP = range(9)
_SAFE: Final = 2**52
"""So many lots of each minute of a day still add up within 64 bits."""
_TOLD: Final = INCOMPLETE | SATURATED

_Prices: TypeAlias = tuple[int | None, int | None, int | None]
"""Open, high and low."""


class Day:
    """The last 1,440 minutes that had trades, each at its place in a ring."""

    def __init__(self) -> None:
        self._ring = np.zeros((MINUTES, 9), dtype=np.int64)

    def put(self, minute: Candle | Bar) -> None:
        """Takes a candle of a minute, new or changed, unless a later one is in its place."""
        at = minute.start_s // MINUTE_S % MINUTES
        if minute.start_s >= self._ring[at, _START]:
            self._ring[at] = (
                minute.start_s,
                minute.open,
                minute.high,
                minute.low,
                minute.volume,
                minute.count,
                minute.flags,
                minute.price_exp,
                minute.size_exp,
            )

    def summary(self, end_us: int, scale: tuple[int, int]) -> Summary:
        """The statistics of the minutes up to that of ``end_us``, 1,440 in all; ``scale`` where there are none."""
        last = end_us // 1_000_000 // MINUTE_S * MINUTE_S
        starts = self._ring[:, _START]
        rows = self._ring[
            (starts > last - MINUTES * MINUTE_S) & (starts <= last) & (self._ring[:, _COUNT] > 0)
        ]
        if not len(rows):
            return Summary(end_us, None, None, None, 0, 0, 0, *scale, 0)
        rows = rows[rows[:, _START].argsort()]
        flags = int(np.bitwise_or.reduce(rows[:, _FLAGS])) & _TOLD
        finest = int(rows[:, _PRICE_EXP].min()), int(rows[:, _SIZE_EXP].min())
        if (rows[:, _PRICE_EXP] == finest[0]).all() and (rows[:, _SIZE_EXP] == finest[1]).all():
            prices: _Prices = int(rows[0, _OPEN]), int(rows[:, _HIGH].max()), int(rows[:, _LOW].min())
            volumes = rows[:, _VOLUME]
            volume = int(volumes.sum()) if volumes.max() < _SAFE else sum(volumes.tolist())
        else:
            prices, volume, flags = _rescaled(rows.tolist(), finest, flags)
        if volume > MAX_NUMBER:
            volume, flags = MAX_NUMBER, flags | SATURATED
        count, since_us = int(rows[:, _COUNT].sum()), int(rows[0, _START]) * 1_000_000
        return Summary(end_us, *prices, volume, count, since_us, *finest, flags)


def _rescaled(rows: Iterable[Sequence[int]], finest: tuple[int, int], flags: int) -> tuple[_Prices, int, int]:
    """Prices, volume and flags of minutes in several scales. A minute whose prices are too great in the finest one is left out."""
    kept = []
    volume = 0
    for row in rows:
        factor = 10 ** (row[_PRICE_EXP] - finest[0])
        prices = [row[each] * factor for each in (_OPEN, _HIGH, _LOW)]
        volume += row[_VOLUME] * 10 ** (row[_SIZE_EXP] - finest[1])
        if max(map(abs, prices)) <= MAX_NUMBER:
            kept.append(prices)
        else:
            flags |= INCOMPLETE
    if not kept:
        return (None, None, None), volume, flags
    return (kept[0][0], max(each[1] for each in kept), min(each[2] for each in kept)), volume, flags
