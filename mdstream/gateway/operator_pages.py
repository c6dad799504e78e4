"""What operators may GET on the admin address: figures, sessions, traces, and the page ``/operator/`` that shows the figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from mdstream.gateway.budget import Budget
from mdstream.gateway.http_listener import Page, Streamed
from mdstream.gateway.http_messages import RequestLine
from mdstream.gateway.inspection import FULL, Answers, Inspector
from mdstream.gateway.kept_page import SharedPage
from mdstream.gateway.pages import read_query
from mdstream.gateway.session_rows import MOST_ROWS, USUAL_ROWS, Wanted
from mdstream.gateway.tracing import MOST_TRACES
from mdstream.printable import printable_json

FOLDER: Final = Path(__file__).parents[1] / "operator"
ROOT: Final = b"/operator/"
LISTS_AT_ONCE, LISTS_PER_SECOND = 20, 5

_NAME = re.compile(r"[0-9a-f]{16}")
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_JSON: Final = [("Content-Type", "application/json")]
_LINES: Final = [("Content-Type", "application/x-ndjson")]

Query = Mapping[str, list[str]]


class OperatorPages:
    """``page`` answers a request; None: there is no such page here."""

    def __init__(self, inspector: Inspector, now_s: Callable[[], float]) -> None:
        self._inspector = inspector
        self._now_s = now_s
        self._status = SharedPage(self._make_status, now_s)
        self._lists = Budget(LISTS_AT_ONCE, LISTS_PER_SECOND, now_s())

    def page(self, request: RequestLine) -> Page | Coroutine[Any, Any, Page | Streamed] | None:
        if request.path == b"/v1/status":
            return self._show_status()
        if request.path == b"/v1/sessions":
            return self._asked(request, self._show_sessions)
        if request.path == b"/v1/trace":
            return self._asked(request, self._show_trace)
        if request.path == ROOT.rstrip(b"/"):
            return 308, "the page is at /operator/", [("Location", ROOT.decode())]
        if request.path.startswith(ROOT):
            return _file(request.path.removeprefix(ROOT).decode("latin-1") or "index.html")
        return None

    async def _make_status(self) -> bytes:
        async with aclosing(self._inspector.answers("status")) as answers:
            return printable_json(json.dumps(await anext(answers))).encode()

    async def _show_status(self) -> Page:
        return 200, await self._status.page(), _JSON

    def _asked(
        self, request: RequestLine, show: Callable[[Query], Page | Coroutine[Any, Any, Page | Streamed]]
    ) -> Page | Coroutine[Any, Any, Page | Streamed]:
        query = read_query(request.target)
        if query is None:
            return 400, "the query cannot be read", ()
        if not self._lists.take(self._now_s()):
            return 429, f"at most {LISTS_PER_SECOND} requests a second", [("Retry-After", "1")]
        try:
            return show(query)
        except ValueError as error:
            return 400, str(error), ()

    def _show_sessions(self, query: Query) -> Coroutine[Any, Any, Page]:
        return self._page_of(read_wanted(query))

    async def _page_of(self, wanted: Wanted) -> Page:
        async with aclosing(self._inspector.answers("sessions", **wanted.plain())) as answers:
            return 200, printable_json(json.dumps(await anext(answers))), _JSON

    def _show_trace(self, query: Query) -> Coroutine[Any, Any, Page | Streamed]:
        found = _read(query, ("session", "bodies"))
        name = found.get("session", "")
        if not _NAME.fullmatch(name):
            raise ValueError(
                "session must be the 16 hexadecimal digits that `welcome` names; /v1/sessions lists them"
            )
        return self._trace(name, _flag(found, "bodies"))

    async def _trace(self, name: str, bodies: bool) -> Page | Streamed:
        answers = self._inspector.answers("trace", session=name, bodies=bodies)
        try:
            first = await anext(answers, None)
        except BaseException:
            await answers.aclose()
            raise
        if first is None:
            return 404, f"there is no session {name} here; /v1/sessions lists those that there are", ()
        if first == FULL:
            await answers.aclose()
            return 503, f"there are {MOST_TRACES} traces already; end one of them", [("Retry-After", "5")]
        return Streamed(_LINES, _lines(first, answers))


async def _lines(first: str, answers: Answers) -> Any:
    async with aclosing(answers):
        yield first.encode()
        async for lines in answers:
            yield lines.encode()


def read_wanted(query: Query) -> Wanted:
    """ValueError says what is wrong."""
    found = _read(query, ("after", "limit", "user", "address", "slow"))
    limit = found.get("limit", str(USUAL_ROWS))
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MOST_ROWS:
        raise ValueError(f"limit must be a number from 1 to {MOST_ROWS}")
    return Wanted(
        found.get("after", ""), int(limit), found.get("user"), found.get("address"), _flag(found, "slow")
    )


def _read(query: Query, known: tuple[str, ...]) -> dict[str, str]:
    for name, values in query.items():
        if name not in known:
            raise ValueError(f"{name[:40]!r} is not known here; there are {', '.join(known)}")
        if len(values) > 1:
            raise ValueError(f"{name} is given more than once")
    return {name: values[0] for name, values in query.items()}


def _flag(found: Mapping[str, str], name: str) -> bool:
    value = found.get(name, "0")
    if value not in ("0", "1"):
        raise ValueError(f"{name} must be 0 or 1")
    return value == "1"


def _file(name: str) -> Page:
    """One of the files of the page, which are few and small, and read when they are asked for."""
    path = FOLDER / name
    kind = _TYPES.get(path.suffix)
    if "/" in name or kind is None or not path.is_file():
        return 404, "the page is at /operator/", ()
    headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Security-Policy", _POLICY)]
    return 200, path.read_bytes(), headers
