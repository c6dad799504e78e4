"""``mdstream instruments``: which instruments a gateway has."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

from mdstream.cli.client_options import add_connection, credentials_of, reachable, run_until_signal
from mdstream.client import ConnectionFailed, ListedInstrument, connect
from mdstream.errors import ConfigError, MdstreamError
from mdstream.printable import printable

EXIT_OK = 0
WAIT_S = 10.0
"""For the list, where ``--for`` says nothing else."""

_EPILOG = """\
examples:
  mdstream instruments
  mdstream instruments 'SIM:*' '*:BTC-USD'
  mdstream instruments --names | head -3
  mdstream instruments --json | jq -r 'select(.state == "live").instrument'

The state is "unknown" where the gateway does not read the instrument now: nothing is opened for a list.

exit codes: 0 done, 1 cannot connect or refused, 2 wrong usage, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", help="such as SIM:*, SIM:BTC* or *:BTC-USD (default: all)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--names", action="store_true", help="print the names alone, one per line")
    shown.add_argument("--json", action="store_true", help="print one JSON object per line")
    add_connection(parser, format="msgpack")


def run(args: argparse.Namespace) -> int:
    return run_until_signal(_list(args))


async def _list(args: argparse.Namespace) -> int:
    """Raises ConfigError for a pattern that is none, ConnectionFailed, SubscriptionRefused."""
    try:
        async with asyncio.timeout(args.for_s or WAIT_S):
            async with connect(
                args.url, format=args.format, compression=args.compression, **credentials_of(args)
            ) as client:
                found = await client.instruments(*args.patterns)
                rows = list(found.rows.values())
    except TimeoutError:
        raise MdstreamError("the gateway did not send its list in time") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except ConnectionFailed as error:
        raise reachable(error) from error
    _print(rows, args)
    return EXIT_OK


def _print(rows: Sequence[ListedInstrument], args: argparse.Namespace) -> None:
    if args.names:
        for row in rows:
            print(row.instrument)
    elif args.json:
        for row in rows:
            print(json.dumps(asdict(row), ensure_ascii=False, separators=(",", ":")))
    else:
        width = max((len(row.instrument) for row in rows), default=0)
        for row in rows:
            print(line(row, width))


def line(row: ListedInstrument, width: int) -> str:
    """``SIM:BTC-USD  live     0.01 × 0.00000001  Bitcoin``."""
    steps = f"{_step(row.ref.get('tick', 1), row.price_exp)} × {_step(row.ref.get('lot', 1), row.size_exp)}"
    state = row.state if row.code is None else f"{row.state} ({row.code})"
    text = f"{row.instrument:<{width}}  {state:<12}  {steps}  {row.ref.get('name', '')}"
    return printable(text.rstrip())


def _step(count: int, exponent: int) -> str:
    """An increment as a decimal."""
    if exponent >= 0:
        return str(count * 10**exponent)
    digits = f"{count:0{1 - exponent}}"
    return f"{digits[:exponent]}.{digits[exponent:]}"
