"""Orders and answers, with a process of this test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = """
from mdstream.bench import orders
from mdstream.errors import BenchError
def fail(order): raise BenchError("no room: free some")
orders.main({"echo": lambda order: {"got": order}, "nothing": lambda order: None, "fail": fail})
"""


def play(*lines: str) -> tuple[list[dict[str, object]], int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="".join(lines),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


@pytest.mark.process
def test_each_order_is_answered_in_turn_until_there_are_no_more() -> None:
    answers, status = play('{"do":"echo","n":1}\n{"do":"noth', 'ing"}\n', '{"do":"echo","n":2}\n')
    assert answers == [{"got": {"n": 1}}, {}, {"got": {"n": 2}}]
    assert status == 0


@pytest.mark.process
def test_an_error_of_ours_is_the_answer_and_the_end() -> None:
    answers, status = play('{"do":"fail"}\n', '{"do":"echo"}\n')
    assert answers == [{"error": "no room: free some"}]
    assert status == 1
