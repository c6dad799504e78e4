"""The project's own tools, as far as they judge text."""

from __future__ import annotations

import pytest

from check_commit_message import problem
from raise_tools import pinned, repinned

PROJECT = """\
[project.optional-dependencies]
dev = [
    "mdstream[bench]",
    "pytest==9.0.0",
    "pytest-xdist==3.8.0",
]
[build-system]
requires = ["cython==3.3.1", "pytest==9.0.0"]
"""


@pytest.mark.parametrize("message", ["Name it\n", "Name it\n\nThe why.\n# a comment of git's\n", "x" * 72])
def test_good_commit_messages(message: str) -> None:
    assert problem(message) is None


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("x" * 73, "73 characters"),
        ("wip", "in progress"),
        ("WIP: name it", "in progress"),
        ("fixup! Name it", "in progress"),
        ("Name it.", "period"),
        ("Name it\nThe why.", "second line"),
    ],
)
def test_bad_commit_messages(message: str, what: str) -> None:
    assert what in (problem(message) or "")


def test_pins_of_development_tools_are_raised_and_no_others() -> None:
    assert pinned(PROJECT) == ["pytest", "pytest-xdist"]
    raised = repinned(PROJECT, {"pytest": "10.1", "pytest-xdist": "3.8.0"})
    assert raised == PROJECT.replace('    "pytest==9.0.0"', '    "pytest==10.1"')
