"""The screen of ``mdstream watch --board``: a row for each instrument that matches. No I/O: state in, text out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from rich.table import Table
from rich.text import Text

from mdstream.cli.ladder import ASK, BID, DIM, STATE_STYLES, state_text
from mdstream.client import Board, BoardRow, Client
from mdstream.printable import printable

FRAME_LINES = 4
"""Lines without rows: title, head, foot, and one that the terminal keeps."""
FLASH_S = 0.4
"""How long a row that has changed is bright."""
_COLUMNS = ("instrument", "state", "bid", "ask", "last", "change", "%", "high", "low", "volume")
_LEAST_WIDTHS = (0, 0, 0, 0, 0, 60, 70, 96, 110, 126)
"""Columns of the terminal from which on each is shown."""


@dataclass(slots=True)
class Watchlist:
    """What the screen shows."""

    patterns: tuple[str, ...]
    client: Client
    board: Board | None = None
    clock: Callable[[], float] = time.monotonic
    """The event loop's."""
    changed_s: dict[str, float] = field(default_factory=dict)
    """When each row last changed."""
    unprinted: dict[str, None] = field(default_factory=dict)

    def note(self, names: tuple[str, ...]) -> None:
        """These rows have changed, or are gone."""
        now_s = self.clock()
        self.changed_s.update((name, now_s) for name in names)
        self.unprinted.update(dict.fromkeys(names))


def render(scene: Watchlist, width: int, height: int) -> Table:
    """The whole screen, ``width`` × at most ``height - 1``. What has no room is counted."""
    screen = Table.grid(padding=0)
    screen.add_column(width=width, no_wrap=True)
    screen.add_row(_title(scene))
    if scene.board is None:
        screen.add_row(Text(" waiting for the rows …", style="yellow"))
        return screen
    rows = sorted(scene.board.rows.values(), key=lambda row: row.instrument)
    room = max(1, height - FRAME_LINES)
    screen.add_row(_table(scene, rows[:room], width))
    hidden = f" and {len(rows) - room} more, which have no room here" if len(rows) > room else ""
    screen.add_row(Text(f" {len(rows)} instruments{hidden}, q quits", style=DIM))
    return screen


def lines(scene: Watchlist) -> Iterator[str]:
    """What is printed where there is no terminal: a line for each row that has changed since."""
    at = f"{datetime.now(UTC):%H:%M:%S}"
    board = scene.board
    if board is None or not board.trusted:
        yield f"{at} {', '.join(scene.patterns)} {scene.client.state if board is None else state_text(board, scene.clock())}"
        return
    changed, scene.unprinted = list(scene.unprinted), {}
    for name in sorted(changed):
        row = board.rows.get(name)
        if row is None:
            yield printable(f"{at} {name} is gone")
        else:
            named = zip(_COLUMNS[2:7], _cells(row)[2:7], strict=True)
            yield printable(
                f"{at} {name} {row.state} " + " ".join(f"{key} {value}" for key, value in named if value)
            )


def _title(scene: Watchlist) -> Text:
    text = Text(f" {printable(', '.join(scene.patterns))}", style="bold")
    if scene.board is not None:
        style = STATE_STYLES.get(scene.board.state, "yellow")
        text.append(f"  ● {state_text(scene.board, scene.clock())}", style=style)
    text.append(f"  {scene.client.url}", style=DIM)
    return text


def _table(scene: Watchlist, rows: list[BoardRow], width: int) -> Table:
    shown = [at for at, least in enumerate(_LEAST_WIDTHS) if width >= least]
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style=DIM, expand=False)
    for at in shown:
        table.add_column(_COLUMNS[at], justify="left" if at < 2 else "right", no_wrap=True)
    is_trusted = scene.board is not None and scene.board.trusted
    for row in rows:
        cells = _cells(row)
        table.add_row(
            *(Text(cells[at], style=_style(row, at)) for at in shown),
            style=_row_style(scene, row, is_trusted),
        )
    return table


def _cells(row: BoardRow) -> tuple[str, ...]:
    change = row.change
    share = None if change is None or not row.open else change / row.open * 100
    return (
        printable(row.instrument),
        row.state,
        *(_number(each) for each in (row.bid, row.ask, row.last)),
        "" if change is None else f"{change:+f}",
        "" if share is None else f"{share:+.2f}",
        *(_number(each) for each in (row.high, row.low, row.volume)),
    )


def _number(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:f}"


def _style(row: BoardRow, at: int) -> str:
    change = row.change
    if _COLUMNS[at] in ("change", "%") and change:
        return BID if change > 0 else ASK
    return "yellow" if _COLUMNS[at] == "state" and row.state != "live" else ""


def _row_style(scene: Watchlist, row: BoardRow, is_trusted: bool) -> str:
    """A price that is not live does not look live."""
    if not is_trusted or row.state != "live":
        return "dim"
    age_s = scene.clock() - scene.changed_s.get(row.instrument, float("-inf"))
    return "bold" if age_s < FLASH_S else ""
