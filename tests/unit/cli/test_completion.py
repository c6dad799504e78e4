"""Shell completion, and ``mdstream help``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mdstream.cli import main
from mdstream.cli.commands import all_parsers
from mdstream.cli.main import COMMANDS, make_parser

SHELLS = ("bash", "zsh", "fish")


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_it_knows_every_command_and_every_flag(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    parsers = list(all_parsers(make_parser()))
    names = {parser.prog.rpartition(" ")[2] for parser in parsers}
    assert names >= {*COMMANDS, "sim", "binance", "kraken", "record", "replay", "compare", "show"}
    assert [name for name in names if name not in text] == []
    flags = {flag for parser in parsers for flag in parser._option_string_actions if flag.startswith("--")}
    assert len(flags) > 100
    # fish writes a long option without its dashes.
    assert [flag for flag in flags if flag.removeprefix("--" if shell == "fish" else "") not in text] == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mdstream se", "serve"),
        ("mdstream feed kr", "kraken"),
        ("mdstream serve --heartbeat", "--heartbeat-ms"),
        ("mdstream dump --format js", "json"),
    ],
)
def test_bash_completes(words: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = words.split()
    ask = f"""
{script("bash", capsys)}
COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; COMP_LINE="{words}"; COMP_POINT={len(words)}
$(complete -p mdstream | sed -E 's/.*-F ([^ ]+).*/\\1/') mdstream "{line[-1]}" "{line[-2]}"
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash"], input=ask, capture_output=True, text=True, check=True)
    assert expected in done.stdout.split()
    assert done.stderr == ""


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "mdstream: shtab is not installed; `pip install" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["serve"], ["feed"], ["feed", "sim"], ["bench", "compare"]])
def test_help_is_the_help_of_the_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for arguments in (["help", *words], [*words, "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


def test_there_is_no_help_of_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["help", "sevre"])
    assert stopped.value.code == 2
    assert "invalid choice: 'sevre'" in capsys.readouterr().err


@pytest.mark.process
def test_bash_completes_instruments_of_the_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "mdstream"
    program.write_text(
        '#!/bin/sh\n[ "$1 $2" = "instruments --names" ] && printf "SIM:BTC-USD\\nSIM:ETH-USD\\n"\n'
    )
    program.chmod(0o755)
    ask = f"""
PATH={tmp_path}:$PATH
{script("bash", capsys)}
COMP_WORDS=(mdstream watch SIM:B); COMP_CWORD=2; COMP_LINE="mdstream watch SIM:B"; COMP_POINT=20
$(complete -p mdstream | sed -E 's/.*-F ([^ ]+).*/\\1/') mdstream SIM:B watch
echo "${{COMPREPLY[@]}}"
case $COMP_WORDBREAKS in *:*) echo "breaks words at colons";; esac
"""
    done = subprocess.run(["bash"], input=ask, capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["SIM:BTC-USD"], "")
