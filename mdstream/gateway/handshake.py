"""The decision on an upgrade request, without I/O: which subprotocol, or which refusal.

RFC 6455 section 4.2.1 says what a request must hold. picows checks the key. Where it is too strict (a ``Connection`` list, as
browsers send it) or not strict enough, this module checks first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from picows import WSUpgradeRequest

from mdstream.auth.credentials import Credentials
from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.extensions import Deflate, negotiate
from mdstream.gateway.http_messages import ALLOW
from mdstream.gateway.origin import Origins

PATH = b"/v1/stream"
SUBPROTOCOLS = {"mdstream.v1.json": JSON, "mdstream.v1.msgpack": MSGPACK}
_BEARER = "bearer."
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LISTS = ("Upgrade", "Connection", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")
MOST_ITEMS = 100
"""Of the lists of one name, parameters and empty items included. To read the thousands for which a request has room would take
milliseconds, in which nobody else is served."""


@dataclass(slots=True)
class Accepted:
    """Continue in ``format``. The answer echoes ``subprotocol``, None if none was offered; ``deflate`` if compression was agreed on.

    ``credentials`` are still to be judged. ``explains``: the client wants to be let in and told by a close code, instead of a 401, if
    they are wrong. Not frozen, as one is made for each connection and that would take three times as long; nobody changes it.
    """

    format: int
    subprotocol: str | None
    deflate: Deflate | None = None
    credentials: Credentials = field(default_factory=Credentials, compare=False)
    explains: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """No upgrade: answer with this status and a line that says why."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


UNAUTHORIZED = Refused(401, "a valid credential is needed", (("WWW-Authenticate", "Bearer"),))
"""The one answer to every credential that opens nothing, whatever is wrong with it."""
FOREIGN_PAGE = Refused(403, "web pages of this origin may not connect here")


def decide(
    request: WSUpgradeRequest,
    *,
    busy: str | None = None,
    retry_after_s: int = 1,
    compression: bool = True,
    origins: Origins | None = None,
) -> Accepted | Refused:
    """Judges a request, all but its credentials; ``busy`` says why no client is accepted now (draining, full), ``origins`` which web
    pages may connect (None: all). Normalises the headers that picows reads."""
    asks_options = request.method == b"OPTIONS"
    if request.path.partition(b"?")[0] != PATH and not (asks_options and request.path in (b"/", b"*")):
        return Refused(404, f"there is nothing here; the stream is at {PATH.decode()}")
    if busy is not None:
        return Refused(503, busy, (("Retry-After", str(retry_after_s)),))
    if asks_options:
        return Refused(200, f"the stream is at {PATH.decode()}", (ALLOW,))
    problem = _malformed(request)
    if problem is not None:
        return Refused(400, problem, (("Sec-WebSocket-Version", "13"),))
    if origins is not None and not origins.allows(
        _octets(request, "Origin"), _octets(request, "Host") or b""
    ):
        return FOREIGN_PAGE
    verdict = _choose(_items(request, "Sec-WebSocket-Protocol"))
    return _extend(verdict, request) if compression and isinstance(verdict, Accepted) else verdict


def _malformed(request: WSUpgradeRequest) -> str | None:
    if request.method != b"GET":
        return f"a WebSocket upgrade is a GET request, not {request.method.decode()}"
    if request.version == b"HTTP/1.0":
        return (
            "a WebSocket upgrade needs HTTP/1.1, and this is HTTP/1.0: if a proxy sent it, let it speak HTTP/1.1 to this gateway "
            "(nginx: proxy_http_version 1.1)"
        )
    headers = request.headers
    for name in ("Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
        if len(headers.getall(name, [])) != 1:
            return f"a WebSocket upgrade has the header {name} exactly once"
    for name in ("Authorization", "Origin"):
        if len(headers.getall(name, [])) > 1:
            return f"a WebSocket upgrade has the header {name} at most once"
    for name in _LISTS:
        if sum(map(_separators, headers.getall(name, []))) >= MOST_ITEMS:
            return f"the header {name} lists more than {MOST_ITEMS} items"
    for name, wanted in (("Upgrade", "websocket"), ("Connection", "upgrade")):
        if wanted not in (item.lower() for item in _items(request, name)):
            return f"a WebSocket upgrade has the header {name}: {wanted}"
        headers[name] = wanted
    if headers["Sec-WebSocket-Version"] != "13":
        return "the WebSocket version must be 13"
    return None


def _choose(offered: list[str]) -> Accepted | Refused:
    """The first offered subprotocol that is known; a bearer token in the list is not a subprotocol and is never echoed."""
    offered = [name for name in offered if name] or offered[
        :1
    ]  # an empty element counts for nothing (RFC 9110 section 5.6.1)
    if not all(_TOKEN.fullmatch(name) for name in offered):
        return Refused(400, "Sec-WebSocket-Protocol must be a list of tokens")
    names = [name for name in offered if not name.startswith(_BEARER)]
    if not names:
        return Accepted(JSON, None)
    for name in names:
        if name in SUBPROTOCOLS:
            return Accepted(SUBPROTOCOLS[name], name)
    return Refused(400, f"none of the subprotocols offered is known; there are {', '.join(SUBPROTOCOLS)}")


def _extend(verdict: Accepted, request: WSUpgradeRequest) -> Accepted | Refused:
    try:
        deflate = negotiate(request.headers.getall("Sec-WebSocket-Extensions", []))
    except ValueError as error:
        return Refused(400, f"Sec-WebSocket-Extensions is no list of extensions ({error})")
    return replace(verdict, deflate=deflate)


def _separators(value: str) -> int:
    return value.count(",") + value.count(";")


def _items(request: WSUpgradeRequest, name: str) -> list[str]:
    """The comma-separated items of all headers of that name."""
    return [item.strip(" \t") for value in request.headers.getall(name, []) for item in value.split(",")]


def _octets(request: WSUpgradeRequest, name: str) -> bytes | None:
    value = request.headers.get(name)
    return None if value is None else value.encode("utf-8", "surrogateescape")
