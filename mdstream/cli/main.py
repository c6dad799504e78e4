"""The root of the command line: finds the subcommand, turns errors into one line and an exit code.

A subcommand is a module ``mdstream.cli.<name>``; see ``commands.py`` for what it provides.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mdstream._version import __version__
from mdstream.cli.commands import EXIT_USAGE, add_commands
from mdstream.cli.standard_files import open_standard_files
from mdstream.errors import ConfigError, MdstreamError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

COMMANDS = {
    "demo": "run everything on this machine: NATS, a simulated market, a gateway and a live view",
    "serve": "run a gateway: market data from NATS to WebSocket clients",
    "feed": "run a feed handler: a venue, a simulation or a recording to NATS",
    "candles": "write candles and 24 h statistics of every instrument, from its trades",
    "alerts": "watch the price alerts of all users, and tell each crossing once",
    "webhooks": "tell other systems by HTTP what happens, signed",
    "watch": "show the live order book of an instrument in the terminal",
    "bench": "measure the cost and the speed of a gateway: load test, report, comparison",
    "instruments": "list the instruments that a gateway has",
    "map": "show, watch and change the keyed state of a topic",
    "events": "print the events of a topic, and acknowledge them",
    "publish": "publish an event to a topic",
    "dump": "print what a gateway sends, one message per line, for scripts",
    "sessions": "list who is connected to a gateway",
    "trace": "show what one session sends and is sent, as it happens",
    "check": "tell a writer what the contract asks and it does not do",
    "token": "make keys and tokens for development",
    "revoke": "end sessions and keep credentials out, on all gateways",
    "usage": "show who used which instruments, for billing",
    "completion": "print a script that completes commands and options in a shell",
    "help": "show the help of a command",
}

EPILOG = """\
start here:
  mdstream demo                                  everything at once, no setup
  mdstream serve --nats nats://127.0.0.1:4222    a gateway on ws://127.0.0.1:8080/v1/stream
  mdstream feed sim                              something to show, on the same NATS
  mdstream watch SIM:BTC-USD                     in another terminal
  mdstream instruments                           what else there is to watch

exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``mdstream`` with ``argv`` (default: the process's) and returns the exit code."""
    open_standard_files()
    try:
        args = make_parser().parse_args(argv)
        code: int = args.run(args)
        return code
    except ConfigError as error:
        return _fail(f"configuration: {error}", EXIT_USAGE)
    except MdstreamError as error:
        return _fail(str(error), EXIT_FAILED)
    except ImportError as error:
        if error.name != "mdstream._core":
            raise
        return _fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # As in `mdstream dump … | head`: the interpreter must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED


def make_parser() -> argparse.ArgumentParser:
    """The whole command line; ``commands.py`` says when a subcommand is imported."""
    parser = argparse.ArgumentParser(
        prog="mdstream",
        description="Market-data streaming: order books, trades and tickers from NATS to WebSocket clients.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mdstream {__version__}")
    commands = {name: (f"mdstream.cli.{name}", summary) for name, summary in COMMANDS.items()}
    add_commands(parser, "COMMAND", commands)
    return parser


def _fail(message: str, code: int) -> int:
    print(f"mdstream: {message}", file=sys.stderr)
    return code
