"""``mdstream help``: the same as ``--help`` behind a command."""

from __future__ import annotations

import argparse

from mdstream.cli.main import main


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  mdstream help serve\n  mdstream help feed binance"
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="none shows the list of commands")


def run(args: argparse.Namespace) -> int:
    return main([*args.command, "--help"])
