"""Some seconds of a long run: a few kinds of faults, all parts, clients that verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.results import summary
from chaos.run import run as play
from chaos.stage import Options

QUIET_S = (1.0, 5.0)
"""Long enough for a client that was told nothing of the last fault to notice its silence."""
KINDS = [
    "gateway killed",
    "gateway drained",
    "some clients cut off",
    "node stopped",
    "feed killed",
    "all clients hang up",
]


def test_nobody_is_shown_what_never_was(run: Callable[..., Any], tmp_path: Path) -> None:
    options = Options(
        seed=1, seconds=22.0, every_s=2.5, clients=24, processes=1, instruments=3, quiet_s=QUIET_S
    )
    result = run(play(options, tmp_path, KINDS), deadline_s=240, debug=False)
    assert result["held"], summary(result) + str([client["notes"] for client in result["clients"]])
    assert {fault["kind"] for fault in result["faults"]} == set(KINDS)
    assert result["shown"] > 1_000
