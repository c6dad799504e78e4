"""``mdstream check``: tells a writer everything that the contract asks and it does not do."""

from __future__ import annotations

import argparse
import json
import sys

from mdstream.bus import BusOptions, connect
from mdstream.check import BusReport, Options, Verdict, check
from mdstream.cli.client_options import duration_s, instrument, run_until_signal
from mdstream.cli.commands import EXIT_USAGE
from mdstream.errors import BusError, ConfigError
from mdstream.feeds import _cli
from mdstream.model import InstrumentId
from mdstream.printable import printable_json

EXIT_OK = 0
EXIT_WRONG = 1

_EPILOG = """\
examples:
  mdstream check SIM:BTC-USD
  mdstream check SIM:BTC-USD SIM:ETH-USD --for 70s
  mdstream check --all --json | jq '.instruments[].findings'

It listens to NATS and reads MD_STATE and MD_LOG; it needs no gateway and publishes nothing. To have the announcement checked as
well, start the writer after the check. Ctrl-C ends it early, with the verdict so far. docs/publishing.md explains each rule.

exit codes: 0 all is right, 1 something is wrong or nobody publishes, 2 wrong usage or no NATS
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, "Checks what a writer publishes against the contract of docs/protocol.md.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "instruments", nargs="*", type=instrument, metavar="INSTRUMENT", help="such as SIM:BTC-USD"
    )
    parser.add_argument("--all", action="store_true", help="check every instrument on the bus")
    parser.add_argument(
        "--for",
        dest="for_s",
        metavar="TIME",
        type=duration_s,
        default=15.0,
        help="listen for this time: 500ms, 10s, 5m (default: 15s)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    if bool(args.instruments) == args.all:
        return _fail("name the instruments to check, as in SIM:BTC-USD, or give --all")
    try:
        _cli.configure_log(args)
        bus_options = _cli.bus_options(args, "mdstream check")
    except ConfigError as error:
        return _fail(str(error))
    instruments = tuple(dict.fromkeys(InstrumentId.parse(name) for name in args.instruments))
    return run_until_signal(_check(bus_options, Options(instruments, args.for_s), args.json))


async def _check(bus_options: BusOptions, options: Options, as_json: bool) -> int:
    try:
        async with await connect(bus_options) as bus:
            report = await check(bus, options)
    except BusError as error:
        return _fail(str(error))
    print(printable_json(json.dumps(report.as_json(), indent=2)) if as_json else "\n".join(report.lines()))
    return _exit_code(report, options)


def _exit_code(report: BusReport, options: Options) -> int:
    """Of all instruments, those whose writer has stopped are no fault; of those that were named, they are."""
    if report.verdict is Verdict.WRONG:
        return EXIT_WRONG
    stopped = any(each.verdict is Verdict.STOPPED for each in report.instruments)
    return EXIT_WRONG if stopped and options.instruments else EXIT_OK


def _fail(message: str) -> int:
    print(f"mdstream check: {message}", file=sys.stderr)
    return EXIT_USAGE
