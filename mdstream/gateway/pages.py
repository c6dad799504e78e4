"""What clients may GET beside the stream. Who asks is judged as for an upgrade: the same credentials, origins and limits.

Looked at only where there is no stream, so upgrades cost nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from picows import WSUpgradeRequest

from mdstream.auth.credentials import Credentials, bearer, query_value
from mdstream.auth.identity import Identity
from mdstream.errors import CommandError
from mdstream.gateway.control_decoder import JSON
from mdstream.gateway.handshake import FOREIGN_PAGE, Accepted, Refused
from mdstream.gateway.http_messages import response, retry_after_s
from mdstream.gateway.origin import Origins
from mdstream.gateway.upgrades import parse, single_header

MOST_FIELDS: Final = 40
STATUSES: Final = {"not_entitled": 403, "unavailable": 503, "rate_limited": 429}
"""Of the contract's error codes; 400 for the others."""
_METHODS: Final = (b"GET", b"HEAD")
_ONCE: Final = ("Host", "Authorization", "Origin")
_TOKEN: Final = "token"

Query: TypeAlias = Mapping[str, list[str]]


class PageAnswer(NamedTuple):
    body: bytes
    content_type: str = "application/json"


Page: TypeAlias = Callable[[Query, Identity], Coroutine[Any, Any, PageAnswer]]
"""Makes the answer; raises CommandError for what cannot be answered."""


@dataclass(slots=True)
class Asked(Accepted):
    """A page that is there, for whoever the credentials name."""

    page: Page | None = None
    query: Query | None = None
    with_body: bool = True
    origin: str | None = None


class Pages:
    """``add`` pages by their path; ``origins`` and ``query_token`` as for upgrades."""

    def __init__(self, *, origins: Origins | None = None, query_token: bool = False) -> None:
        self._origins = origins
        self._query_token = query_token
        self._pages: dict[bytes, Page] = {}

    def add(self, path: bytes, page: Page) -> None:
        self._pages[path] = page

    def find(self, head: bytes, busy: str | None) -> Asked | Refused | None:
        """The decision on a request, but for its credentials; None where there is no page. ``busy``: why nobody is served now."""
        try:
            request = parse(head)
        except (ValueError, RuntimeError):
            return None
        page = self._pages.get(request.path.partition(b"?")[0])
        if page is None:
            return None
        if busy is not None:
            return Refused(503, busy, (("Retry-After", str(retry_after_s())),))
        if any(len(request.headers.getall(name, [])) > 1 for name in _ONCE):
            return Refused(400, f"a request has each of {', '.join(_ONCE)} at most once")
        if not self._is_of_own(request):
            return FOREIGN_PAGE
        origin = request.headers.get("Origin")
        if request.method == b"OPTIONS":
            return Refused(200, "GET is allowed", (*_allowing(origin), *_PREFLIGHT))
        if request.method not in _METHODS:
            return Refused(405, "this page can be read only", (("Allow", "GET, HEAD, OPTIONS"),))
        return self._asked(page, head, request, origin)

    async def answer(self, asked: Asked, identity: Identity) -> tuple[int, bytes]:
        """The status, and the whole answer."""
        assert asked.page is not None and asked.query is not None
        headers = _allowing(asked.origin)
        try:
            made = await asked.page(asked.query, identity)
        except CommandError as error:
            status = STATUSES.get(error.code, 400)
            if status in (429, 503):
                headers = (*headers, ("Retry-After", str(retry_after_s())))
            return status, response(status, str(error), headers, with_body=asked.with_body)
        headers = (*headers, ("Content-Type", made.content_type))
        return 200, response(200, made.body, headers, with_body=asked.with_body)

    def _is_of_own(self, request: WSUpgradeRequest) -> bool:
        origin, host = _octets(request, "Origin"), _octets(request, "Host") or b""
        return self._origins is None or self._origins.allows(origin, host)

    def _asked(
        self, page: Page, head: bytes, request: WSUpgradeRequest, origin: str | None
    ) -> Asked | Refused:
        query = read_query(request.path)
        if query is None:
            return Refused(400, "the query cannot be read")
        token = bearer(_octets(request, "Authorization"))
        if token is None and self._query_token:
            token = query_value(request.path, _TOKEN.encode()) or None
        query.pop(_TOKEN, None)
        host = _octets(request, "Host") or b""
        credentials = Credentials(token, host, request.path, lambda name: single_header(head, name))
        return Asked(JSON, None, None, credentials, False, page, query, request.method == b"GET", origin)


_PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", "GET"),
    ("Access-Control-Allow-Headers", "Authorization"),
    ("Access-Control-Max-Age", "600"),
)


def _allowing(origin: str | None) -> tuple[tuple[str, str], ...]:
    """Headers that let the page that asked read the answer; its origin is allowed."""
    return () if origin is None else (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))


def read_query(target: bytes) -> dict[str, list[str]] | None:
    """The values of each name in the query of a target; None if it cannot be read."""
    text = target.partition(b"?")[2].decode("latin-1")
    try:
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        return None
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


def _octets(request: WSUpgradeRequest, name: str) -> bytes | None:
    value = request.headers.get(name)
    return None if value is None else value.encode("utf-8", "surrogateescape")
