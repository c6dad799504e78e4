"""The root of the command line: finds the subcommand, turns errors into one line and an exit code.

A subcommand is a module ``mdstream.cli.<name>`` with two functions: ``configure(parser)`` adds its arguments to an
``ArgumentParser``, ``run(args)`` does the work and returns the exit code. Only the chosen one is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from mdstream._version import __version__
from mdstream.errors import ConfigError, MdstreamError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

COMMANDS = {
    "demo": "run everything on this machine: NATS, a simulated market, a gateway, and a live view",
    "serve": "run a gateway: market data from NATS to WebSocket clients",
    "watch": "show the live order book of an instrument in the terminal",
    "bench": "measure what a gateway costs and how fast it is: a load test, a report, a comparison",
    "dump": "print what a gateway sends, one message per line, for scripts",
}

EPILOG = """\
start here:
  mdstream demo                                  everything at once, nothing to set up
  mdstream serve --nats nats://127.0.0.1:4222    a gateway on ws://127.0.0.1:8080/v1/stream
  mdstream watch SIM:BTC-USD                     in a second terminal

exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted
"""


class Subcommand(Protocol):
    """What a module ``mdstream.cli.<name>`` provides."""

    def configure(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``mdstream`` with ``argv`` (default: the process's) and returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    try:
        parser, subcommand = _build(chosen)
        args = parser.parse_args(words)
        if subcommand is None:
            parser.print_help()
            return EXIT_USAGE
        return subcommand.run(args)
    except ConfigError as error:
        return _fail(f"configuration: {error}", EXIT_USAGE)
    except MdstreamError as error:
        return _fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # As in `mdstream dump … | head`: the interpreter must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED


def _build(chosen: str | None) -> tuple[argparse.ArgumentParser, Subcommand | None]:
    parser = argparse.ArgumentParser(
        prog="mdstream",
        description="Market-data streaming: order books, trades and tickers from NATS to WebSocket clients.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mdstream {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    subcommand = None
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == chosen:
            subcommand = cast(Subcommand, import_module(f"mdstream.cli.{name}"))
            subcommand.configure(subparser)
    return parser, subcommand


def _fail(message: str, code: int) -> int:
    print(f"mdstream: {message}", file=sys.stderr)
    return code
