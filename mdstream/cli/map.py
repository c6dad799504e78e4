"""``mdstream map``: the keyed state of a topic, shown, watched and changed."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from mdstream.cli.client_options import (
    add_connection,
    credentials_of,
    duration_s,
    reachable,
    run_until_signal,
)
from mdstream.client import Client, ConnectionFailed, Map, MapEntry, PutConflict, connect
from mdstream.errors import ConfigError, MdstreamError
from mdstream.printable import printable, printable_json

EXIT_OK = 0
EXIT_CONFLICT = 3
WAIT_S = 10.0
"""For what ends by itself, where ``--for`` says nothing else."""

_EPILOG = """\
examples:
  mdstream map desk.auction                                     all keys and values
  mdstream map desk.auction get bid                             the value of a key, as JSON
  mdstream map desk.auction put bid=12 'note="last call"'       two keys in one change
  mdstream map desk.auction put bid=13 --expect bid=118         only if nobody has set it since number 118; 0: if it is not there
  mdstream map desk.auction put here=true --ttl 30s             it ends by itself
  mdstream map desk.auction delete note
  mdstream map desk.auction watch --prefix lot.                 every change, one line of JSON each

A value is JSON. The rev of a key, the number of the change that set it, is in the third column.

exit codes: 0 done, 1 cannot connect or refused, 2 wrong usage, 3 something else holds than was expected, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("topic", metavar="TOPIC", help="such as desk.auction; user is your own")
    parser.add_argument(
        "what", nargs="?", choices=("get", "put", "delete", "watch"), default="get", help="default: get"
    )
    parser.add_argument("keys", nargs="*", metavar="KEY[=JSON]", help="keys, or what they are set to")
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="only keys that begin so (get and watch)"
    )
    parser.add_argument(
        "--expect", action="append", default=[], metavar="KEY=REV", help="change nothing unless this holds"
    )
    parser.add_argument(
        "--ttl", metavar="TIME", type=duration_s, help="how long the keys last: 500ms, 10s, 5m, 1h"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per key (get)")
    add_connection(parser, format="msgpack")


def run(args: argparse.Namespace) -> int:
    if args.what in ("get", "watch") and (args.expect or args.ttl is not None):
        raise ConfigError("--expect and --ttl are for put and delete")
    if args.what in ("put", "delete") and not args.keys:
        raise ConfigError(f"{args.what} names no key")
    return run_until_signal(_run(args))


async def _run(args: argparse.Namespace) -> int:
    most_s = args.for_s or (None if args.what == "watch" else WAIT_S)
    try:
        async with asyncio.timeout(most_s):
            async with connect(
                args.url, format=args.format, compression=args.compression, **credentials_of(args)
            ) as client:
                return await _do(client, args)
    except TimeoutError:
        if args.what == "watch":
            return EXIT_OK
        raise MdstreamError("the gateway did not answer in time") from None
    except PutConflict as error:
        _say_conflict(error)
        return EXIT_CONFLICT
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except ConnectionFailed as error:
        raise reachable(error) from error


async def _do(client: Client, args: argparse.Namespace) -> int:
    if args.what == "get":
        return _print(await client.map(args.topic, prefix=args.prefix), args)
    if args.what == "watch":
        await _watch(await client.map(args.topic, prefix=args.prefix))
        return EXIT_OK
    expect = {key: _rev(text) for key, text in map(_pair, args.expect)}
    ttl_ms = None if args.ttl is None else int(args.ttl * 1000)
    if args.what == "put":
        values = {key: _value(key, text) for key, text in map(_pair, args.keys)}
        seq = await client.put(args.topic, values, expect=expect, ttl_ms=ttl_ms)
    else:
        seq = await client.put(args.topic, delete=args.keys, expect=expect)
    print(seq)
    return EXIT_OK


def _print(shown: Map, args: argparse.Namespace) -> int:
    missing = [key for key in args.keys if key not in shown.entries]
    chosen = args.keys or sorted(shown.entries)
    entries = {key: shown.entries[key] for key in chosen if key in shown.entries}
    if args.json:
        for key, entry in entries.items():
            print(_line({"key": key, **_fields(entry)}))
    elif args.keys:
        for entry in entries.values():
            print(_line(entry.value))
    else:
        _print_table(entries)
    for key in missing:
        print(printable(f"mdstream: {args.topic} has no key {key}"), file=sys.stderr)
    return EXIT_OK if not missing else 1


def _print_table(entries: dict[str, MapEntry]) -> None:
    width = max((len(key) for key in entries), default=0)
    for key, entry in entries.items():
        by = "" if entry.by is None else f"  {entry.by}"
        print(printable(f"{key:<{width}}  {_line(entry.value)}  {entry.rev}{by}"))


async def _watch(shown: Map) -> None:
    first = {key: _fields(entry) for key, entry in shown.entries.items()}
    print(_line({"seq": shown.seq, "whole": True, "set": first, "delete": []}), flush=True)
    async for update in shown:
        found = {key: _fields(entry) for key, entry in update.set.items()}
        line = {"seq": update.seq, "whole": update.whole, "set": found, "delete": list(update.deleted)}
        print(_line(line), flush=True)


def _say_conflict(error: PutConflict) -> None:
    print(printable(f"mdstream: {error}"), file=sys.stderr)
    for key, entry in error.current.items():
        held = "nothing" if entry is None else f"{_line(entry.value)}, rev {entry.rev}{_by(entry)}"
        print(printable(f"  {key} is {held}"), file=sys.stderr)


def _by(entry: MapEntry) -> str:
    return "" if entry.by is None else f", by {entry.by}"


def _fields(entry: MapEntry) -> dict[str, Any]:
    return {"value": entry.value, "rev": entry.rev, "by": entry.by, "ts": entry.ts_us}


def _line(value: Any) -> str:
    return printable_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _pair(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise ConfigError(f"{text!r} is no KEY=VALUE")
    return key, value


def _value(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigError(f"the value of {key} is no JSON; a text reads {key}='\"text\"'") from None


def _rev(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--expect: {text!r} is no number; it is the rev of the key, or 0")
    return int(text)
