"""docs/security.md: each threat has a control and a test, and each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from attack import attacks_topics as attacks_topics  # registers them
from attack.attacks import ATTACKS
from attack.tables import TABLES
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
TARGETS_OF_MAKE = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
FOLDERS = (ROOT, ROOT / "tests", ROOT / "tests" / "attack")
_ROWS_OF = re.compile(r"rows of (?:the )?(\w+)")


class Line(NamedTuple):
    """Of the table."""

    threat: str
    control: str
    test: str


def lines() -> list[Line]:
    table = PAGE.partition("## Threats, controls, tests")[2].partition("\n## ")[0]
    found = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in found]
    return [Line(*each) for each in cells if each[0] != "threat" and set(each[0]) != {"-"}]


LINES = lines()


def is_there(name: str) -> bool:
    """Whether there is a test file, an attack, a fuzz target, or a target of make of this name."""
    if name.endswith(".py"):
        return any((folder / name).is_file() for folder in FOLDERS)
    if name.startswith("make "):
        return any(name.removeprefix("make ") in each.split() for each in TARGETS_OF_MAKE)
    return name in ATTACKS or name in TARGETS


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.threat[:50])
def test_each_threat_has_a_control_and_tests_that_are_there(line: Line) -> None:
    assert line.control
    named = re.findall(r"`([^`]+)`", line.test)
    rows = _ROWS_OF.findall(line.test)
    assert named or rows, "it names no test"
    assert not [name for name in named if not is_there(name)]
    assert not [part for part in rows if part not in parts()]


def parts() -> set[str]:
    return {part.split()[0] for part in TABLES}


def test_each_attack_and_each_part_of_the_table_answers_a_threat() -> None:
    tests = " ".join(line.test for line in LINES)
    assert not [name for name in ATTACKS if f"`{name}`" not in tests]
    assert parts() == set(_ROWS_OF.findall(tests))
