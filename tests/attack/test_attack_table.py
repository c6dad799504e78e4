"""The attack table: each hostile input gets the refusal that the contract says, and no honest client notices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attack.arena import Arena, is_genuine
from attack.rows import Row
from attack.tables import OPEN, TABLES, distinct
from attack.wire import LEAKED

ROWS = [
    pytest.param(row, id=f"{part}: {row.name}".replace(" ", "_"))
    for part, rows in OPEN.items()
    for row in rows
]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Its gateway logs whatever it can: no text of a stranger may look like a line of its own."""
    made = Arena(tmp_path_factory.mktemp("table"), "--log-level", "debug")
    yield made
    made.stop()


@pytest.mark.parametrize("row", ROWS)
def test_row(row: Row, arena: Arena) -> None:
    row.play(arena)
    wrong = arena.gateway.said_wrong()
    assert not wrong, "\n".join(wrong)
    assert not LEAKED, LEAKED


def test_nobody_noticed(arena: Arena) -> None:
    """After all rows: the honest clients have had everything, nothing of anybody else, and nothing of the rows is left."""
    arena.check(refused_feed=True)
    assert arena.settled(sessions=4).sessions == 4


def test_the_table_is_as_large_as_promised() -> None:
    for part, rows in TABLES.items():
        names = [row.name for row in rows]
        assert len(set(names)) == len(names), part
    assert distinct() >= 700


def test_a_line_that_is_forged_would_be_seen() -> None:
    said = "2026-11-29T00:00:00.000Z info gateway.node: connected"
    assert is_genuine(said) and is_genuine("  | a trace")
    for line in (
        "FORGED",
        f"{said}\x1b[2J",
        f"{said}\x9b",
        f"{said}\u202e",
        said.replace("connected", "FORGED"),
        "",
    ):
        assert not is_genuine(line)
