"""The attack table: each hostile input gets the refusal that the contract says, and no honest client notices."""

from __future__ import annotations

import pytest

from attack import table_admin, table_commands, table_feed, table_frames, table_handshake, table_tokens
from attack.arena import Arena
from attack.rows import Row
from attack.wire import LEAKED

TABLES: dict[str, list[Row]] = {
    "handshake": [*table_handshake.ROWS],
    "commands": [*table_commands.ROWS],
    "frames": [*table_frames.FRAMES],
    "compression": [*table_frames.COMPRESSION],
    "feed": [*table_feed.ROWS],
    "admin": [*table_admin.ROWS],
}
ROWS = [
    pytest.param(row, id=f"{part}: {row.name}".replace(" ", "_"))
    for part, rows in TABLES.items()
    for row in rows
]


@pytest.mark.parametrize("row", ROWS)
def test_row(row: Row, arena: Arena) -> None:
    row.play(arena)
    wrong = arena.gateway.said_wrong()
    assert not wrong, "\n".join(wrong)
    assert not LEAKED, LEAKED


def test_nobody_noticed(arena: Arena) -> None:
    """After all rows: the honest clients have had everything, nothing of anybody else, and nothing of the rows is left."""
    arena.check()
    assert arena.settled(sessions=4).sessions == 4


def test_the_table_is_as_large_as_promised() -> None:
    tables = TABLES | {"tokens": table_tokens.ROWS}
    names = [f"{part} {row.name}" for part, rows in tables.items() for row in rows]
    assert len(set(names)) == len(names) >= 150
