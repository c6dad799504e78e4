"""``mdstream events``: prints the events of a topic, one JSON object per line."""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from mdstream.cli.client_options import (
    add_connection,
    credentials_of,
    natural,
    positive,
    reachable,
    run_until_signal,
)
from mdstream.cli.publish import topic
from mdstream.client import ConnectionFailed, Event, Events, connect
from mdstream.printable import printable_json
from mdstream.topics import OWN

EXIT_OK: Final = 0

_EPILOG = """\
examples:
  mdstream events                                     your own topic
  mdstream events desk.notices
  mdstream events --ack --count 10                    ten, which then do not come again
  mdstream events desk.notices --since 0 --for 5s     all that are kept

What was not acknowledged before comes first, where the topic is acknowledged. With --ack each event is acknowledged once it is printed.

exit codes: 0 done, 1 cannot connect or refused, 2 wrong usage, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "topic",
        metavar="TOPIC",
        nargs="?",
        type=topic,
        default=OWN,
        help="such as desk.notices (default: your own)",
    )
    parser.add_argument("--ack", action="store_true", help="acknowledge what was printed")
    parser.add_argument(
        "--device",
        metavar="NAME",
        default="",
        help="which of your devices this is, where each one acknowledges",
    )
    parser.add_argument(
        "--since", metavar="N", type=natural, help="those after this number; 0: all that are kept"
    )
    parser.add_argument("--count", metavar="N", type=positive, help="end after so many")
    add_connection(parser, format="msgpack")


def run(args: argparse.Namespace) -> int:
    return run_until_signal(_events(args))


async def _events(args: argparse.Namespace) -> int:
    try:
        async with connect(
            args.url, format=args.format, compression=args.compression, **credentials_of(args)
        ) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(args.for_s):
                    await _print_all(
                        args, await client.events(args.topic, device=args.device, since=args.since)
                    )
    except ConnectionFailed as error:
        raise reachable(error) from error
    return EXIT_OK


async def _print_all(args: argparse.Namespace, found: Events) -> None:
    left = args.count
    async for event in found:
        print(line(event), flush=True)
        if args.ack:
            found.acknowledge(event)
        if left is not None and (left := left - 1) == 0:
            return


def line(event: Event) -> str:
    """One event as JSON."""
    told = asdict(event)
    del told["skipped"]
    return printable_json(json.dumps(told, ensure_ascii=False, separators=(",", ":")))
