"""Boards and lists on several lines at once. Each gateway numbers its own, so one line is shown as long as it can go on, then another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mdstream.client.board import Board
from mdstream.client.lined import Leg, Lined, Position
from mdstream.client.listing import InstrumentList
from mdstream.client.observers import notify_all


class RowsLeg(Leg):
    """One line's rows, and what it was told last."""

    newest: Any = None
    _seq: int | None

    @property
    def position(self) -> Position | None:
        """Numbers of different lines are not compared."""
        return None if self._seq is None or self.newest is None else (self.line, self._seq)


class BoardLeg(RowsLeg, Board):
    pass


class ListLeg(RowsLeg, InstrumentList):
    pass


class LinedRows(Lined):
    """The rows of the line that is shown. When it cannot go on, those of another come in their place, as one whole update."""

    _rows: dict[str, Any]
    _seq: int | None
    _observers: list[Any]
    gaps: int
    recoveries: int

    def _listen(self, leg: Any) -> None:
        leg.on_update(lambda update: self._take_update(leg, update))

    def _take_update(self, leg: Any, update: Any) -> None:
        leg.newest = update
        if self.ended:
            return
        is_shown = leg is self._ahead
        if not is_shown:
            leg.late += 1
            return
        leg.first += 1
        self._show(leg, update)

    def _choose(self) -> None:
        if self._ahead is not None and self._ahead.trusted:
            return
        able = [leg for leg in self.legs if leg.trusted and leg.position is not None]
        if able:
            self._show(able[0], None)

    def _show(self, leg: Any, update: Any) -> None:
        told = update
        if leg is not self._ahead:
            gone = tuple(self._rows.keys() - leg._rows.keys())
            told = replace(leg.newest, changed=tuple(leg._rows.values()), gone=gone, whole=True)
        self._rows, self._seq = leg._rows, leg._seq
        self._lead(leg)
        if told is not None:
            notify_all(self._observers, told)

    def _count(self) -> None:
        legs: list[Any] = list(self.legs)
        self.gaps = sum(leg.gaps for leg in legs)
        self.recoveries = sum(leg.recoveries for leg in legs)


class LinedBoard(LinedRows, Board):
    """A board whose rows are those of the line that is shown."""


class LinedList(LinedRows, InstrumentList):
    """A list whose rows are those of the line that is shown."""
