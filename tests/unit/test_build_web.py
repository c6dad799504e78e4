from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import build_web

NPM_SAID = """npm warn Unknown user config "x".
npm error code ECONNREFUSED
npm error
npm error syscall connect
npm error A complete log of this run can be found in: /home/x/.npm/_logs/y.log
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page and a source, a second apart."""
    for name in ("web", "client", "out"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(
            build_web, {"web": "WEB", "client": "CLIENT", "out": "OUT"}[name], tmp_path / name
        )
    for age, name in ((1, "web/index.html"), (2, "out/index.html")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["build_web.py", *arguments])
    return build_web.main()


def test_a_page_that_is_newer_than_its_sources_is_not_built_again(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bool] = []
    monkeypatch.setattr(build_web, "_build", lambda: built.append(True))
    assert run(monkeypatch, "--if-needed") == 0
    assert built == []
    (tree / "client" / "board.ts").touch()
    assert run(monkeypatch, "--if-needed") == 0
    assert built == [True]
    (tree / "out" / "index.html").unlink()
    assert run(monkeypatch, "--if-needed") == 0
    assert run(monkeypatch) == 0
    assert built == [True] * 3


@pytest.mark.parametrize(("arguments", "status"), [((), 1), (("--try",), 0)])
def test_what_failed_is_said_in_a_few_lines(
    arguments: tuple[str, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise subprocess.CalledProcessError(1, ["/x/bin/node", "/x/npm-cli.js", "ci"], stderr=NPM_SAID)

    monkeypatch.setattr(build_web, "_build", fail)
    assert run(monkeypatch, *arguments) == status
    said = capsys.readouterr().err.splitlines()
    assert said[:3] == [
        "the trading page is not built: node npm-cli.js ci failed",
        "  npm error code ECONNREFUSED",
        "  npm error syscall connect",
    ]
    assert said[3:] == (["everything else works without it; `make web` tries again"] if arguments else [])


def test_a_program_that_cannot_run_here_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(8, "Exec format error", "/x/bin/node")

    monkeypatch.setattr(build_web, "_build", fail)
    assert run(monkeypatch) == 1
    assert capsys.readouterr().err.splitlines() == [
        "the trading page is not built: [Errno 8] Exec format error: '/x/bin/node'"
    ]
