"""A clone whose core is not compiled, with a Python that has no packages: one line says so."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
HINT = "run `make build` and use .venv/bin/python, or run `pip install -e .`"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clone")
    shutil.copytree(
        ROOT / "mdstream", root / "mdstream", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    return root


def python(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-E", *arguments], cwd=clone, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "module", ["mdstream.client", "mdstream.feed", "mdstream.feeds.sim.command", "mdstream.gateway"]
)
def test_an_import_says_so(clone: Path, module: str) -> None:
    done = python(clone, "-c", f"import {module}")
    said = f"ImportError: mdstream's compiled core is not built in this checkout ({clone}): {HINT}"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == said


@pytest.mark.parametrize(
    "command", [["serve"], ["demo"], ["feed", "sim"], ["watch", "SIM:A"], ["bench", "--help"]]
)
def test_a_command_says_so_in_one_line(clone: Path, command: list[str]) -> None:
    done = python(clone, "-m", "mdstream.cli", *command)
    assert done.returncode == 1
    assert (
        done.stderr == f"mdstream: mdstream's compiled core is not built in this checkout ({clone}): {HINT}\n"
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_itself_needs_no_core(clone: Path, option: str) -> None:
    done = python(clone, "-m", "mdstream.cli", option)
    assert (done.returncode, done.stderr) == (0, "")
