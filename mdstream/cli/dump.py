"""``mdstream dump``: prints what a gateway sends, one message per line, as the JSON of the contract."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from typing import TextIO

from mdstream.candle import MAX_HISTORY, SPANS
from mdstream.cli.client_options import (
    add_connection,
    add_view,
    credentials_of,
    instrument,
    natural,
    positive,
    reachable,
    run_until_signal,
)
from mdstream.cli.render_json import JsonLines
from mdstream.client import Client, ConnectionFailed, Subscription, connect

EXIT_OK = 0

DATA = frozenset({"snapshot", "delta", "trades", "ticker", "candles"})
QUIET = frozenset({"welcome", "heartbeat", "pong"})

_EPILOG = """\
examples:
  mdstream dump SIM:BTC-USD --depth 10
  mdstream dump SIM:BTC-USD SIM:ETH-USD --channel trades --for 10s
  mdstream dump SIM:BTC-USD --channel candles --span 1m --history 60 --for 5s
  mdstream dump SIM:BTC-USD --channel ticker --count 1 | jq -c 'select(.type == "ticker").bid'

The first message of each subscription, "subscribed", says which number ("sub") stands for which instrument; "state" says
whether its data is live, and if not why ("code") and how old it is ("age_ms"). When the connection is lost it reconnects
and resumes. Each line is the JSON of the contract, also with --format msgpack.

exit codes: 0 done, 1 cannot connect or refused, 2 wrong usage, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "instruments", nargs="+", type=instrument, metavar="INSTRUMENT", help="such as SIM:BTC-USD"
    )
    parser.add_argument(
        "--channel",
        choices=("book", "trades", "ticker", "candles"),
        default="book",
        help="channel (default: book)",
    )
    parser.add_argument(
        "--span", choices=tuple(SPANS), default="1m", help="of candles (default: %(default)s)"
    )
    parser.add_argument(
        "--history",
        type=natural,
        default=0,
        metavar="N",
        help="closed candles before the newest one, at most 1000 (default: 0)",
    )
    add_view(parser, depth=0, interval_ms=0)
    add_connection(parser, format="json")
    parser.add_argument("--count", type=positive, metavar="N", help="end after N messages with data")
    parser.add_argument("--all", action="store_true", help="also print welcome, heartbeats and pongs")


def run(args: argparse.Namespace) -> int:
    return run_until_signal(_dump(args, sys.stdout))


async def _dump(args: argparse.Namespace, out: TextIO) -> int:
    printer = _Printer(out, JsonLines(args.format), count=args.count, everything=args.all)
    try:
        async with connect(
            args.url,
            format=args.format,
            compression=args.compression,
            on_payload=printer.take,
            **credentials_of(args),
        ) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(args.for_s):
                    await _follow(client, args, printer)
    except ConnectionFailed as error:
        raise reachable(error) from error
    return EXIT_OK


async def _follow(client: Client, args: argparse.Namespace, printer: _Printer) -> None:
    """Returns after ``--count`` messages. Raises the error that ends a subscription, the connection or the output."""

    async def follow(name: str) -> None:
        subscription = await _subscribe(client, args, name)
        await subscription.wait_ended()

    tasks = [asyncio.ensure_future(follow(name)) for name in args.instruments]
    try:
        done, _ = await asyncio.wait([printer.done, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _subscribe(client: Client, args: argparse.Namespace, name: str) -> Subscription:
    if args.channel == "trades":
        return await client.trades(name)
    if args.channel == "candles":
        return await client.candles(name, span=args.span, history=min(args.history, MAX_HISTORY))
    if args.channel == "ticker":
        return await client.ticker(name, interval_ms=args.interval_ms)
    return await client.book(name, depth=args.depth, group=args.group, interval_ms=args.interval_ms)


class _Printer:
    """Prints each message when it arrives. ``done`` completes after ``count`` data messages, or fails when the output is closed."""

    def __init__(self, out: TextIO, lines: JsonLines, *, count: int | None, everything: bool) -> None:
        self._out = out
        self._lines = lines
        self._left = count
        self._everything = everything
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, payload: bytes) -> None:
        try:
            for kind, line in self._lines.read(payload):
                if not self.done.done():
                    self._print(kind, line)
        except OSError as error:
            if not self.done.done():
                self.done.set_exception(error)

    def _print(self, kind: str, line: str) -> None:
        if kind in QUIET and not self._everything:
            return
        self._out.write(line + "\n")
        self._out.flush()
        if kind in DATA and self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.done.set_result(None)
