from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdstream import __version__
from mdstream.cli import main

cli = importlib.import_module("mdstream.cli.main")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"mdstream {__version__}\n"


def test_help_lists_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_help_of_serve_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    from mdstream.gateway.config import GatewayConfig
    from mdstream.gateway.config_sources import flag_name
    from mdstream.gateway.settings import settings_of

    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(flag_name(name) in shown for name in settings_of(GatewayConfig))


def test_a_wrong_flag_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [name for name in os.environ if name.startswith("MDSTREAM_")]:
        monkeypatch.delenv(variable)
    assert main(["serve", "--port", "x"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "mdstream: configuration: --port is 'x'; it must be a whole number from 0 to 65535\n"


def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["serve", "--max-c", "1"])
    assert stopped.value.code == 2


@pytest.mark.process
def test_an_unknown_command_is_exit_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mdstream.cli", "sevre"],
        capture_output=True,
        text=True,
        cwd=Path.cwd(),
        check=False,
    )
    assert done.returncode == 2
    assert "sevre" in done.stderr and "serve" in done.stderr
    assert "Traceback" not in done.stderr
