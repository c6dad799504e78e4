"""``mdstream completion``: a script with which a shell completes commands, options and file names."""

from __future__ import annotations

import argparse
from pathlib import Path

from mdstream.cli.commands import all_parsers
from mdstream.cli.main import make_parser
from mdstream.errors import MdstreamError

MISSING = "shtab is not installed; `pip install 'mdstream-gateway[completion]'` installs it"

_LIST = "mdstream instruments --names --for 2s 2>/dev/null"
INSTRUMENTS = {
    "bash": "_mdstream_instruments",
    "zsh": "_mdstream_instruments",
    "fish": f"({_LIST})",
    "preamble": {
        # An instrument has a colon, at which bash would begin another word.
        "bash": f"""
COMP_WORDBREAKS=${{COMP_WORDBREAKS//:}}
_mdstream_instruments() {{
  compgen -W "$({_LIST})" -- "$1"
}}""",
        "zsh": f"""
_mdstream_instruments() {{
  local -a names
  names=(${{(f)"$({_LIST})"}})
  compadd -a names
}}""",
    },
}
"""How a shell completes an instrument: it asks the gateway on this machine."""

_EPILOG = """\
bash, in ~/.bashrc:      eval "$(mdstream completion bash)"
zsh, once:               mdstream completion zsh > "${fpath[1]}/_mdstream"
fish, once:              mdstream completion fish > ~/.config/fish/completions/mdstream.fish
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> int:
    """Prints the script; returns 0. Raises MdstreamError without shtab."""
    try:
        import shtab
    except ImportError:
        raise MdstreamError(MISSING) from None
    root = make_parser()
    for parser in all_parsers(root):
        for action in parser._actions:
            if action.type is Path or action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar == "INSTRUMENT":
                action.complete = INSTRUMENTS  # type: ignore[attr-defined]
    print(shtab.complete(root, args.shell))
    return 0
