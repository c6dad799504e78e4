"""The candles of one instrument and span as clients are sent them: closed ones, the newest, and what changed lately; without I/O.

The ``source`` of a composed topic. Messages have no number of their own: of two candles with one start, the greater ``rev`` holds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from mdstream._core.base.decimals import format_decimal
from mdstream.candle import Candle
from mdstream.gateway.control_decoder import JSON

KIND: Final = 10
"""The first number of a MessagePack message."""
MOST_KEPT: Final = 2_500
"""Closed candles that are kept; what is stored beyond them is not shown."""
MOST_CHANGES: Final = 512
"""Changes that are kept for slow clients; who lacks more is sent everything."""
ROWS_PER_MESSAGE: Final = 200
"""They take less than 64 KiB."""

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


def json_row(candle: Candle) -> list[Any]:
    """Prices and volume as exact decimals."""
    start_s, rev, *prices, volume, count, epoch, first, last, price_exp, size_exp, flags = candle
    texts = [format_decimal(price, price_exp) for price in prices]
    numbers = (count, epoch, first, last, price_exp, size_exp, flags)
    return [start_s, rev, *texts, format_decimal(volume, size_exp), *numbers]


class CandleLog:
    """``put`` candles, then ``commit``; ``sub`` is the number of its topic."""

    def __init__(self) -> None:
        self.sub = 0
        self.seq = 0
        self._starts: list[int] = []
        """Of all candles, in order."""
        self._candles: dict[int, Candle] = {}
        self._changes: deque[tuple[int, int]] = deque(maxlen=MOST_CHANGES)
        """Number and start."""
        self._rows: tuple[dict[tuple[int, int], msgspec.Raw], ...] = ({}, {})
        """By format: encoded rows by start and ``rev``, of the candles that somebody asked for."""
        self._made: dict[tuple[int, int | None], list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._candles)

    # ---- what it shows

    def put(self, candle: Candle) -> bool:
        """Takes a candle; returns whether it is newer than what is known."""
        start_s, known = candle.start_s, self._candles.get(candle.start_s)
        if known is not None and known.rev >= candle.rev:
            return False
        if known is None:
            insort(self._starts, start_s)
        else:
            for rows in self._rows:
                rows.pop((start_s, known.rev), None)
        self._candles[start_s] = candle
        self._changes.append((self.seq + 1, start_s))
        self._forget_old()
        return True

    def clear(self) -> None:
        """Forgets all: it is read again."""
        self._starts.clear()
        self._candles.clear()
        self._changes.clear()
        for rows in self._rows:
            rows.clear()

    def commit(self) -> bool:
        """Whether anything has changed; it then has the next number."""
        if not self._changes or self._changes[-1][0] <= self.seq:
            return False
        self.seq += 1
        self._made.clear()
        return True

    def _forget_old(self) -> None:
        while len(self._starts) > MOST_KEPT:
            start_s = self._starts.pop(0)
            candle = self._candles.pop(start_s)
            for rows in self._rows:
                rows.pop((start_s, candle.rev), None)

    def latest(self, closed: int) -> list[Candle]:
        """The newest candle, and so many before it."""
        return [self._candles[start_s] for start_s in self._starts[-closed - 1 :]]

    def between(self, from_s: int, to_s: int, most: int) -> tuple[list[Candle], int | None]:
        """The first ``most`` candles that begin from ``from_s`` on and before ``to_s``, and when the next one begins."""
        begin, end = bisect_left(self._starts, from_s), bisect_left(self._starts, to_s)
        chosen = self._starts[begin : min(end, begin + most)]
        following = self._starts[begin + most] if begin + most < end else None
        return [self._candles[start_s] for start_s in chosen], following

    # ---- messages

    def history(self, format: int, closed: int) -> list[bytes]:
        """The messages that a new subscriber is sent: so many closed candles, then the newest one."""
        return self._messages(format, self.latest(closed))

    def reaches(self, since: int) -> bool:
        """Whether the changes after this number are known."""
        if since >= self.seq:
            return True
        return bool(self._changes) and (len(self._changes) < MOST_CHANGES or self._changes[0][0] <= since + 1)

    def missing(self, format: int, since: int | None) -> list[bytes]:
        """The messages that lead from a number to now; None: all candles."""
        made = self._made.get((format, since))
        if made is None:
            made = self._made[format, since] = self._messages(format, self._missing(since))
        return made

    def _missing(self, since: int | None) -> Sequence[Candle]:
        if since is None or not self.reaches(since):
            return self.latest(len(self))
        starts = {start_s for number, start_s in self._changes if number > since}
        return [self._candles[start_s] for start_s in sorted(starts) if start_s in self._candles]

    def _messages(self, format: int, candles: Sequence[Candle]) -> list[bytes]:
        rows = [self._row(format, candle) for candle in candles]
        pages = [rows[at : at + ROWS_PER_MESSAGE] for at in range(0, len(rows), ROWS_PER_MESSAGE)] or [[]]
        return [self._message(format, page, page is not pages[-1]) for page in pages]

    def _message(self, format: int, rows: Iterable[msgspec.Raw], more: bool) -> bytes:
        if format == JSON:
            return _to_json({"type": "candles", "sub": self.sub, "rows": rows, "more": more})
        return _to_msgpack([KIND, self.sub, rows, more])

    def _row(self, format: int, candle: Candle) -> msgspec.Raw:
        rows, key = self._rows[format], (candle.start_s, candle.rev)
        made = rows.get(key)
        if made is None:
            made = rows[key] = msgspec.Raw(
                _to_json(json_row(candle)) if format == JSON else _to_msgpack(candle)
            )
        return made
