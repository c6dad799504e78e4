"""A table on terminals of several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mdstream.bench.summary import show_table
from mdstream.bench.tables import Table

TABLE = Table(
    "Streams",
    ["profile", "format", "p99", "written p99"],
    [["fan-out", "msgpack", "5.6 ms", "4 ms"]],
    ["Written p99: as the gateway saw it.", "All on loopback."],
    spare=("written p99",),
)


def shown(width: int) -> str:
    out = io.StringIO()
    show_table(TABLE, Console(file=out, width=width))
    return out.getvalue()


def test_with_room_all_is_shown() -> None:
    text = shown(80)
    assert "written p99" in text and "4 ms" in text
    assert "Written p99: as the gateway saw it." in text and "All on loopback." in text


@pytest.mark.parametrize("width", [30, 36])
def test_a_column_that_is_left_out_takes_its_note_along(width: int) -> None:
    text = shown(width)
    assert "5.6 ms" in text and "All on loopback." in text
    assert "ritten" not in text and "4 ms" not in text
