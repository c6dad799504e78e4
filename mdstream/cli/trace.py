"""``mdstream trace``: what one session sends and is sent, as it happens."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from typing import Any, Final

from mdstream.cli.admin_http import add_admin, follow
from mdstream.errors import MdstreamError
from mdstream.printable import printable

EXIT_OK: Final = 0

_EPILOG = """\
examples:
  mdstream sessions                          which there are
  mdstream trace 4f1c9a0be2d35587
  mdstream trace 4f1c9a0be2d35587 --json | jq 'select(.type == "snapshot")'

A line for each message: when, whether it comes from the client (<) or goes to it (>), what it is, its subscription, its numbers, its
bytes on the wire. Lines that nobody fetched in time are counted, and left out. The session itself notices nothing. It ends with the
session, or with Ctrl-C.

exit codes: 0 the session has ended, 1 no such session or the gateway cannot be asked, 2 wrong usage, 130 interrupted
"""
_MARKS: Final = {"in": "<", "out": ">"}
_FIRST: Final = ("at_us", "event", "type", "op", "bytes", "body", "views", "compressed")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "session", metavar="SESSION", help="its name, as `welcome` and `mdstream sessions` have it"
    )
    parser.add_argument(
        "--bodies", action="store_true", help="show what the messages hold, too (never a token)"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON lines as they come")
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Raises MdstreamError where there is no such session, or the trace breaks off."""
    query = {"session": args.session, "bodies": "1" if args.bodies else "0"}
    event = None
    for raw in follow(args.admin, "/v1/trace", query):
        try:
            line = json.loads(raw)
            event = line["event"]
        except (ValueError, KeyError, TypeError):
            raise MdstreamError(f"{args.admin} sends what is no line of a trace") from None
        print(raw.decode().rstrip("\n") if args.json else shown(line), flush=True)
    if event != "end":
        raise MdstreamError("the trace broke off: the gateway, or the worker that had the session, has ended")
    return EXIT_OK


def shown(line: dict[str, Any]) -> str:
    """``12:30:01.204817 > delta sub=7 first=41 last=42 (118 bytes)``."""
    at = datetime.fromtimestamp(line["at_us"] / 1e6).strftime("%H:%M:%S.%f")
    what = line.get("type") or line.get("op") or ""
    mark = _MARKS.get(line["event"]) or f"* {line['event']}"
    values = [
        f"{key}={_value(value)}" for key, value in line.items() if key not in _FIRST and value is not None
    ]
    size = (
        [f"({line['bytes']} bytes{', compressed' if line.get('compressed') else ''})"]
        if "bytes" in line
        else []
    )
    text = printable(" ".join(filter(None, (at, mark, str(what), *values, *size))))
    views = [printable("    " + _view(view)) for view in line.get("views", ())]
    body = [f"    {printable(json.dumps(line['body'], ensure_ascii=False))}"] if "body" in line else []
    return "\n".join([text, *views, *body])


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _view(view: dict[str, Any]) -> str:
    named = ("sub", "channel", "instrument")
    more = [f"{key}={value}" for key, value in view.items() if key not in named and value]
    return " ".join([f"sub={view['sub']}", str(view["channel"]), str(view["instrument"]), *more])
