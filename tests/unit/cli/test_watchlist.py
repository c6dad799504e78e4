"""What ``watch --board`` shows, drawn on a console in memory."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mdstream.cli import main
from mdstream.cli.watchlist import Watchlist, lines, render
from mdstream.client import BoardRow, ConnectionState, SubscriptionState


def row(name: str, state: str = "live", **changes: Any) -> BoardRow:
    figures = {
        "bid": Decimal("1.00"),
        "ask": Decimal("1.02"),
        "last": Decimal("1.01"),
        "open": Decimal("1.00"),
    }
    rest = {"high": None, "low": None, "volume": Decimal(7), "since_us": 0}
    return BoardRow(name, state, **{**figures, **rest, **changes})


@pytest.fixture
def scene() -> Watchlist:
    client = SimpleNamespace(state=ConnectionState.OPEN, url="ws://127.0.0.1:8080/v1/stream")
    rows = {each.instrument: each for each in (row("SIM:B", open=None), row("SIM:A"), row("SIM:C", "stale"))}
    board = SimpleNamespace(rows=rows, state=SubscriptionState.LIVE, state_code=None, trusted=True)
    return Watchlist(("SIM:*",), client, board, clock=lambda: 10.0)  # type: ignore[arg-type]


def draw(scene: Watchlist, width: int = 130, height: int = 24) -> list[str]:
    screen = StringIO()
    Console(width=width, height=height, file=screen, color_system=None).print(render(scene, width, height))
    return [line.rstrip() for line in screen.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(130, 24), (80, 6), (50, 5), (30, 5)])
def test_it_fits_the_terminal(scene: Watchlist, width: int, height: int) -> None:
    shown = draw(scene, width, height)
    assert len(shown) <= max(height - 1, 4) and max(map(len, shown)) <= width


def test_rows_are_in_order_with_their_change(scene: Watchlist) -> None:
    shown = draw(scene)
    assert [line.split()[0] for line in shown[2:5]] == ["SIM:A", "SIM:B", "SIM:C"]
    assert shown[2].split()[1:7] == ["live", "1.00", "1.02", "1.01", "+0.01", "+1.00"]
    assert "+" not in shown[3], "without an open there is no change"
    assert "3 instruments, q quits" in shown[5]
    assert "3 instruments and 2 more, which have no room here" in draw(scene, height=5)[-1]


def test_where_there_is_no_terminal_what_changed_is_printed(scene: Watchlist) -> None:
    scene.note(("SIM:A", "SIM:Z"))
    first, second = lines(scene)
    assert (
        "SIM:A live bid 1.00 ask 1.02 last 1.01 change +0.01 % +1.00" in first and "SIM:Z is gone" in second
    )
    assert list(lines(scene)) == []
    scene.board.trusted = False  # type: ignore[union-attr,misc]
    assert len(list(lines(scene))) == 1


@pytest.mark.parametrize("arguments", [[], ["SIM:A", "--board", "SIM:*"], ["--board", ""]])
def test_one_instrument_or_a_board(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *arguments]) == 2
    assert "give one of them" in capsys.readouterr().err
