"""A board: the newest prices of many instruments, by patterns, kept equal to the gateway's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Self

from mdstream.client import events
from mdstream.client.events import BoardChange, BoardName, BoardNames, BoardSnapshot
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.rows import RowsSubscription
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent, scaled

STATES = ("unknown", "live", "recovering", "stale", "halted", "closed")


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One instrument now: exact decimals, None where there is none.

    ``open``, ``high``, ``low`` and ``volume`` are those of the trades of the last 24 hours, from ``since_us`` on (µs since the Unix
    epoch, 0: no trades): if that is less than 24 hours ago, older trades are not known. Do not trade on prices whose ``state`` is not
    ``live``.
    """

    instrument: str
    state: str
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    volume: Decimal | None
    since_us: int

    @property
    def change(self) -> Decimal | None:
        """Of the last 24 hours: ``last`` less ``open``."""
        return None if self.last is None or self.open is None else self.last - self.open


@dataclass(frozen=True, slots=True)
class BoardUpdate:
    """What one message changed; ``whole``: it replaced all rows. ``ts_us`` is the newest event time."""

    seq: int
    ts_us: int
    changed: tuple[BoardRow, ...]
    gone: tuple[str, ...]
    whole: bool = False
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Board(RowsSubscription[BoardChange]):
    """The newest row of each instrument, in ``rows``."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._epoch = 0
        self._names: dict[int, BoardName] = {}
        self._rows: dict[str, BoardRow] = {}
        self._indices: dict[str, int] = {}
        """The index that an instrument has now: after a change of its scale, the old one goes."""
        self._observers: list[Observer[BoardUpdate]] = []

    # ---- for the user

    @property
    def rows(self) -> Mapping[str, BoardRow]:
        """By instrument. It changes with each message."""
        return MappingProxyType(self._rows)

    def on_update(self, observer: Observer[BoardUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` after each message; returns a function that stops the calls."""
        return register(self._observers, observer)

    def updates(self, buffer: int = 64) -> UpdateStream[BoardUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates for a slow consumer."""
        return UpdateStream(self, self.on_update, buffer)

    def __aiter__(self) -> AsyncIterator[BoardUpdate]:
        return self.updates()

    # ---- for the connection

    @property
    def resume(self) -> tuple[int, int] | None:
        return None if self._seq is None else (self._epoch, self._seq)

    def _forget(self) -> None:
        super()._forget()
        self._names.clear()

    def _take(self, event: StreamEvent, now: float) -> None:
        if isinstance(event, BoardNames):
            self._names.update((name.index, name) for name in event.names)
        elif isinstance(event, BoardSnapshot):
            self._take_snapshot(event, now)
        elif isinstance(event, BoardChange):
            self._take_change(event, now)

    def _take_snapshot(self, event: BoardSnapshot, now: float) -> None:
        if event.epoch != self._epoch:
            self._recovery.drop_held()
        rows = self._read(event.rows)
        if rows is None:
            self._start_anew("a name is", now)
            return
        gone = tuple(self._rows.keys() - {row.instrument for _, row in rows})
        self._rows = {row.instrument: row for _, row in rows}
        self._indices = {row.instrument: index for index, row in rows}
        self._epoch = event.epoch
        self._loaded(event.seq, now)
        self._tell(event.ts_us, rows, gone, whole=True)

    def _apply(self, event: BoardChange) -> bool:
        rows = self._read(event.rows)
        if rows is None:
            return False
        for index, row in rows:
            self._rows[row.instrument] = row
            self._indices[row.instrument] = index
        gone = tuple(name for index in event.gone if (name := self._remove(index)) is not None)
        self._seq = event.last
        self._tell(event.ts_us, rows, gone)
        return True

    def _remove(self, index: int) -> str | None:
        """The instrument whose row is gone; None if another index stands for it now."""
        name = self._names.pop(index, None)
        if name is None or self._indices.get(name.instrument) != index:
            return None
        del self._indices[name.instrument]
        del self._rows[name.instrument]
        return name.instrument

    def _read(self, rows: Iterable[events.BoardRow]) -> list[tuple[int, BoardRow]] | None:
        """The rows with their indices; None if one has no name."""
        read = []
        for row in rows:
            name = self._names.get(row.index)
            if name is None:
                return None
            read.append((row.index, _row(row, name)))
        return read

    def _tell(
        self, ts_us: int, rows: list[tuple[int, BoardRow]], gone: tuple[str, ...], *, whole: bool = False
    ) -> None:
        changed = tuple(row for _, row in rows)
        notify_all(self._observers, BoardUpdate(self.seq, ts_us, changed, gone, whole))


def _row(row: events.BoardRow, name: BoardName) -> BoardRow:
    state = STATES[row.state] if 0 <= row.state < len(STATES) else STATES[0]
    exp = name.price_exp
    return BoardRow(
        name.instrument,
        state,
        _decimal(row.bid, exp),
        _decimal(row.ask, exp),
        _decimal(row.last, exp),
        _decimal(row.open, exp),
        _decimal(row.high, exp),
        _decimal(row.low, exp),
        _decimal(row.volume, name.size_exp),
        row.since_us,
    )


def _decimal(number: events.Number, exponent: int) -> Decimal | None:
    if number is None:
        return None
    return Decimal(number) if isinstance(number, str) else scaled(number, exponent)
