"""Shows a result on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from mdstream.bench import report
from mdstream.bench.results import Result
from mdstream.bench.tables import Table, all_tables

ROOM = 10_000
_STYLES = {"FAILED": "bold red", "worse": "bold red", "better": "green", "exact": "green"}


def show(result: Result, console: Console) -> None:
    """The tables, then the verdict."""
    for table in all_tables(result):
        show_table(table, console)
    verdict = report.headline(result)
    console.print(Text(verdict, style="bold red" if verdict.startswith("failed") else "bold"))


def show_table(table: Table, console: Console) -> None:
    """Shows one table and its notes. Leaves out spare columns, with their notes, until it fits into the terminal."""
    left_out: list[str] = []
    shown = _made(table, left_out)
    while len(left_out) < len(table.spare) and _width(shown, console) > console.width:
        left_out.append(table.spare[len(left_out)])
        shown = _made(table, left_out)
    console.print(shown)
    hidden = {head.lower() for head in left_out}
    notes = [note for note in table.notes if note.partition(":")[0].lower() not in hidden]
    for note in notes:
        console.print(Text(note, style="dim"))
    if notes:
        console.print()


def _width(shown: RichTable, console: Console) -> int:
    """The width of the whole table."""
    return Measurement.get(console, console.options.update(width=ROOM), shown).maximum


def _made(table: Table, left_out: Sequence[str]) -> RichTable:
    title = Text(table.title, style="bold")
    made = RichTable(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    kept = [index for index, head in enumerate(table.heads) if head not in left_out]
    last = len(table.heads) - 1
    for index in kept:
        head = table.heads[index]
        words = index < table.left or (index == last and not head)
        made.add_column(head, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in table.rows:
        made.add_row(*(_styled(row[index]) for index in kept))
    return made


def _styled(text: str) -> Text:
    style = next((style for word, style in _STYLES.items() if text.startswith(word)), "")
    if style == "green" and "," in text:
        style = "yellow"
    return Text(text, style=style)
