"""``mdstream usage``: who used what, from the records of all gateways."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from mdstream.bus import BusOptions, connect
from mdstream.bus.usage import decode_record, read_usage
from mdstream.cli.client_options import run_until_signal
from mdstream.cli.commands import EXIT_USAGE
from mdstream.cli.usage_summary import Summary, Total
from mdstream.errors import BusError, ConfigError
from mdstream.feeds import _cli

EXIT_OK = 0
EXIT_FAILED = 1

_EPILOG = """\
examples:
  mdstream usage                                          this month so far, in UTC
  mdstream usage --from 2026-11-01 --to 2026-12-01 --csv > november.csv
  mdstream usage --from 2026-11-29T14:00 --per minute --json

One line for each user, instrument, delay and greatest depth: in how many minutes it was used. A minute counts once, at the
greatest depth in it, on however many gateways. Depth 0 is the full book; without a depth, trades alone were used. Gateways write the
records where usage_enabled is on.

exit codes: 0 done, 1 some records could not be read, 2 wrong usage or no NATS
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, "Shows who used which instruments, summed over all gateways.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    now = datetime.now(UTC)
    parser.add_argument(
        "--from",
        dest="since",
        metavar="TIME",
        type=time,
        default=now.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        help="from the minute that begins then: 2026-11-01, 2026-11-01T14:30, UTC unless it names a zone (default: this month)",
    )
    parser.add_argument(
        "--to", dest="until", metavar="TIME", type=time, default=now, help="until then (default: now)"
    )
    parser.add_argument(
        "--per",
        choices=("total", "day", "minute"),
        default="total",
        help="a line for each day or minute (default: total)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, with a header")
    form.add_argument("--json", action="store_true", help="print a JSON array of objects")


def time(text: str) -> datetime:
    """The type of an argument that is a date or a time (ISO 8601)."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; it reads 2026-11-01 or 2026-11-01T14:30"
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def run(args: argparse.Namespace) -> int:
    if args.since >= args.until:
        return _fail(f"--from {args.since:%Y-%m-%dT%H:%M} is not before --to {args.until:%Y-%m-%dT%H:%M}")
    try:
        _cli.configure_log(args)
        bus_options = _cli.bus_options(args, "mdstream usage")
    except ConfigError as error:
        return _fail(str(error))
    return run_until_signal(_run(bus_options, args))


async def _run(bus_options: BusOptions, args: argparse.Namespace) -> int:
    summary = Summary(args.since, args.until)
    unreadable = 0
    try:
        async with await connect(bus_options) as bus, aclosing(read_usage(bus, args.since)) as payloads:
            async for payload in payloads:
                try:
                    summary.add(decode_record(payload))
                except ValueError:
                    unreadable += 1
    except BusError as error:
        return _fail(f"{error}; usage is recorded where a gateway runs with --usage-enabled on")
    _print(summary.totals(args.per), args)
    if unreadable:
        print(f"mdstream usage: {unreadable} messages are no usage records and are left out", file=sys.stderr)
    return EXIT_FAILED if unreadable else EXIT_OK


def _print(totals: Iterable[Total], args: argparse.Namespace) -> None:
    rows = [_row(total, args.per) for total in totals]
    if args.json:
        print(json.dumps(rows, indent=1))
    elif args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_columns(args.per))
        writer.writerows(_printable(row) for row in rows)
    else:
        _print_table(rows, args.per)


def _print_table(rows: Iterable[dict[str, Any]], per: str) -> None:
    table = Table(box=None, pad_edge=False)
    for name in _columns(per):
        table.add_column(name, justify="right" if name in ("delay_ms", "depth", "minutes") else "left")
    for row in rows:
        table.add_row(*_printable(row))
    Console(markup=False, highlight=False, soft_wrap=True).print(table)


def _columns(per: str) -> list[str]:
    return [*([per] if per != "total" else []), "subject", "instrument", "delay_ms", "depth", "minutes"]


def _row(total: Total, per: str) -> dict[str, Any]:
    """``total`` as ``--json`` shows it."""
    row = total._asdict()
    period = row.pop("period")
    if period is None:
        return row
    return {per: f"{period:%Y-%m-%d}" if per == "day" else f"{period:%Y-%m-%dT%H:%MZ}", **row}


def _printable(row: dict[str, Any]) -> Iterator[str]:
    """Nothing that could steer a terminal: a name may hold anything."""
    for value in row.values():
        text = "" if value is None else str(value)
        yield text if text.isprintable() else text.encode("unicode_escape").decode()


def _fail(message: str) -> int:
    print(f"mdstream usage: {message}", file=sys.stderr)
    return EXIT_USAGE
