"""One arena for all tests of a file, and what ``make attack`` says at its end, on the terminal and as ``reports/attack.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attack.arena import Arena

REPORT = Path(__file__).parents[2] / "reports" / "attack.json"
VERDICT = "verdict"
COLUMNS = (
    ("gap_ms", "gap ms"), ("quiet_gap_ms", "quiet"), ("p99_ms", "p99 ms"), ("quiet_p99_ms", "quiet"), ("memory_mib", "+MiB"),
    ("socket_mib", "+kernel"), ("cpu", "cpu"), ("back_s", "back s"),
)  # fmt: skip


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"))
    yield made
    made.stop()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = {"passed": 0, "failed": 0, "skipped": 0}
    fights = []
    for outcome in rows:
        for report in terminalreporter.getreports(outcome):
            if "test_attack_table" in report.nodeid:
                rows[outcome] += report.when == "call" or outcome == "skipped"
            elif VERDICT in (found := dict(report.user_properties)) and report.when == "call":
                fights.append(found[VERDICT] | {"outcome": outcome})
    if fights:
        _tell(terminalreporter, fights, rows)


def _tell(terminalreporter: Any, fights: list[dict[str, Any]], rows: dict[str, int]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"table": rows, "attacks": fights}, indent=1))
    terminalreporter.section("attacks")
    terminalreporter.line(f"{'':28}" + "".join(f"{title:>9}" for _, title in COLUMNS))
    for fight in fights:
        figures = "".join(
            f"{fight[key]:9.2f}" if key == "cpu" else f"{fight[key]:9.1f}" for key, _ in COLUMNS
        )
        terminalreporter.line(
            f"{fight['name'][:28]:28}{figures}  {'; '.join(fight['faults'] + fight['late'])[:90] or 'held'}"
        )
    terminalreporter.line(f"rows of the table: {rows}; all of it: {REPORT}")
