"""What ``make truth`` says at its end: the worst that readers were told, on the terminal and as ``reports/truth.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from truth import rig as parts

REPORT = Path(__file__).parents[2] / "reports" / "truth.json"
VERDICTS = "verdicts"
FIGURES = ("live_behind_s", "live_silent_s", "live_doubted_s", "live_wrong_s", "live_with_nothing_s")
COUNTS = ("shown", "wrong", "back", "scale", "empty", "broken")


@pytest.fixture(autouse=True)
def verdicts(record_property: Any) -> Iterator[None]:
    """Keeps the verdicts of a test's cases in its report."""
    parts.kept.clear()
    yield
    record_property(VERDICTS, [verdict.as_dict() for verdict in parts.kept])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # The fixture's property is in the report of the teardown, which pytest lists with no outcome.
    ends = {report.nodeid: dict(report.user_properties) for report in terminalreporter.getreports("")}
    tests = [
        {"test": report.nodeid, "outcome": outcome, VERDICTS: ends[report.nodeid][VERDICTS]}
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and VERDICTS in ends.get(report.nodeid, {})
    ]
    if tests:
        _tell(terminalreporter, tests)


def _tell(terminalreporter: Any, tests: list[dict[str, Any]]) -> None:
    verdicts = [verdict for test in tests for verdict in test[VERDICTS]]
    summary: dict[str, Any] = {name: sum(verdict[name] for verdict in verdicts) for name in COUNTS}
    summary |= {name: round(max((verdict[name] for verdict in verdicts), default=0.0), 3) for name in FIGURES}
    summary |= {"tests": len(tests), "failed": sum(test["outcome"] == "failed" for test in tests)}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"summary": summary, "tests": tests}, indent=1))
    terminalreporter.section("live means true")
    for name, value in summary.items():
        terminalreporter.line(f"{name:22} {value}")
    terminalreporter.line(
        f"seconds are the longest time told `live` beyond the bound; all verdicts: {REPORT}"
    )
