"""``mdstream sessions``: who is connected to a gateway."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final

from mdstream.cli.admin_http import add_admin, fetch
from mdstream.cli.client_options import positive
from mdstream.printable import printable

EXIT_OK: Final = 0
PAGE: Final = 500

_EPILOG = """\
examples:
  mdstream sessions
  mdstream sessions --user alice
  mdstream sessions --slow --json | jq -r .session
  mdstream trace "$(mdstream sessions --user alice --most 1 --names)"

exit codes: 0 done, 1 the gateway cannot be asked, 2 wrong usage, 130 interrupted
"""
_COLUMNS: Final = ("session", "user", "address", "connected", "format", "subs", "state")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("--user", metavar="NAME", help="those of this user alone")
    parser.add_argument("--address", metavar="IP", help="those from this address alone")
    parser.add_argument("--slow", action="store_true", help="those alone that do not read what they are sent")
    parser.add_argument(
        "--most", type=positive, default=1_000, metavar="N", help="at most so many (default: %(default)s)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--names", action="store_true", help="print the names of the sessions alone")
    shown.add_argument("--json", action="store_true", help="print one JSON object per line")
    add_admin(parser)


def run(args: argparse.Namespace) -> int:
    """Raises MdstreamError where the gateway cannot be asked."""
    if args.json or args.names:
        for row in rows(args):
            print(row["session"] if args.names else json.dumps(row, separators=(",", ":")))
        return EXIT_OK
    for line in table([_COLUMNS, *map(cells, rows(args))]):
        print(line)
    return EXIT_OK


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Page after page, in the order of their names."""
    filters = {"user": args.user, "address": args.address, "slow": "1" if args.slow else None}
    query = {name: value for name, value in filters.items() if value is not None}
    left, after = args.most, ""
    while left > 0:
        page = fetch(args.admin, "/v1/sessions", {**query, "limit": str(min(left, PAGE)), "after": after})
        yield from page["sessions"]
        left -= len(page["sessions"])
        if page["next"] is None:
            return
        after = page["next"]


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    form = row["format"] + ("+deflate" if row["compression"] else "")
    state = f"slow, {row['unread_bytes']} bytes unread" if row["slow"] else "reads"
    return (
        str(row["session"]),
        printable(row["user"] or "-"),
        str(row["address"]),
        age(row["connected_s"]),
        form,
        str(row["subscriptions"]),
        state,
    )


def age(seconds: float) -> str:
    """``45s``, ``12m``, ``3h``, ``2d``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def table(lines: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
