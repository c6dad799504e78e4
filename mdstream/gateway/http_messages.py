"""HTTP/1.1 without I/O: the first line of a request, and whole answers (RFC 9110, RFC 9112)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

METHODS = ("GET", "HEAD", "OPTIONS")
ALLOW = ("Allow", ", ".join(METHODS))

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""With every answer: a browser guesses no type, shows it in no frame, loads nothing for it and gives it to no other origin."""

_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) HTTP/(\d\.\d)")
_ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)


class RequestLine(NamedTuple):
    """The first line of a request. ``target`` is a path with its query, or ``*``; ``version`` is 1.0 or 1.1."""

    method: str
    target: bytes
    version: str

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


def split_head(head: bytes) -> tuple[bytes, bytes]:
    """The first line of a request and the rest of its head. An empty line before it is ignored (RFC 9112 section 2.2)."""
    first, _, rest = head.removeprefix(b"\r\n").partition(b"\r\n")
    return first, rest


def read_request_line(line: bytes) -> RequestLine:
    """Reads ``GET /path HTTP/1.1``. Of a target in absolute form, the path and the query count. ValueError says what is wrong."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError("the request must begin with a line like GET /path HTTP/1.1")
    method, target, version = found[1].decode(), found[2], found[3].decode()
    if not version.startswith("1."):
        raise ValueError(f"HTTP/{version} is not known here; use HTTP/1.1")
    if absolute := _ABSOLUTE.match(target):
        target = target[absolute.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    return RequestLine(method, target, "1.0" if version == "1.0" else "1.1")


def response(
    status: int, body: str | bytes, headers: Iterable[tuple[str, str]] = (), *, with_body: bool = True
) -> bytes:
    """A whole answer, after which the connection is closed; without its body for HEAD (RFC 9110 section 9.3.2)."""
    payload = body if isinstance(body, bytes) else f"{body}\n".encode()
    head = _head(status, [("Content-Length", str(len(payload))), *headers])
    return head + (payload if with_body else b"")


def stream_head(headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer whose body goes on until the connection is closed (RFC 9112 section 6.3)."""
    return _head(200, headers)


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    fields = {
        "Date": formatdate(usegmt=True),
        "Cache-Control": "no-store",
        "Content-Type": "text/plain; charset=utf-8",
        "Connection": "close",
        **SECURITY,
        **dict(headers),
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{n}: {v}" for n, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def retry_after_s() -> int:
    """A different time for each client, so that they do not all come back together."""
    return 1 + int(10 * random.random())
