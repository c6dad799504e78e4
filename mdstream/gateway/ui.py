"""The trading page that ``ui`` serves: the files of a folder, read once, answered from memory.

The files come from ``make web``. Names that hold a hash of their content are kept by browsers for good; the others are asked for again, and
answered 304 if they are the same.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mdstream.errors import ConfigError
from mdstream.gateway.budget import Budget
from mdstream.gateway.http_messages import read_request_line, response, retry_after_s, split_head

FOLDER = Path(__file__).parents[1] / "web"
MAX_BYTES = 16_777_216
ANSWERS_AT_ONCE, ANSWERS_PER_SECOND = 400, 200
"""What waits for those that ask and do not read is bounded by it: a connection that is answered ends within seconds."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".png": "image/png",
}
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_HASHED = "assets/"
_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:_]{1,255}")

Answered = tuple[int, bytes]
"""Status, and the whole answer."""
Action = Callable[[bytes], tuple[int, str]]
"""From the head of a POST request to a status and a line."""


@dataclass(frozen=True, slots=True)
class _Variant:
    encoding: str
    """Empty: as it is."""
    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class _File:
    kind: str
    cache: str
    variants: tuple[_Variant, ...]
    """The smallest first; the last one is as it is."""


class Ui:
    """``actions``: what else the page may ask for, by path; each is called for a POST, and checks who asks."""

    def __init__(self, folder: Path = FOLDER, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigError if there is no page in the folder."""
        self.actions: dict[bytes, Action] = {}
        self._files = _load(folder)
        self._now_s = now_s
        self._budget = Budget(ANSWERS_AT_ONCE, ANSWERS_PER_SECOND, now_s())

    def answer(self, head: bytes) -> Answered | None:
        """The answer to a request, given without its empty line; None for what is no part of the page."""
        first, fields = split_head(head)
        request = read_request_line(first)
        action = self.actions.get(request.path) if request.method == "POST" else None
        file = self._files.get(request.path) if request.method in ("GET", "HEAD") else None
        if action is None and file is None:
            return None
        if not self._budget.take(self._now_s()):
            retry = [("Retry-After", str(retry_after_s()))]
            return 503, response(503, "too many ask for the page; try again later", retry)
        if action is not None:
            status, said = action(head)
            return status, response(status, said)
        assert file is not None
        return _answer_file(file, fields, with_body=request.method == "GET")


def _answer_file(file: _File, fields: bytes, *, with_body: bool) -> Answered:
    accepted = {item.partition(";")[0].strip() for item in header(fields, "Accept-Encoding").split(",")}
    variant = next(each for each in file.variants if not each.encoding or each.encoding in accepted)
    headers = [
        ("Content-Type", file.kind),
        ("Cache-Control", file.cache),
        ("ETag", variant.tag),
        ("Vary", "Accept-Encoding"),
        ("Content-Security-Policy", _policy(header(fields, "Host"))),
    ]
    if variant.encoding:
        headers.append(("Content-Encoding", variant.encoding))
    known = {each.strip().removeprefix("W/") for each in header(fields, "If-None-Match").split(",")}
    if variant.tag in known or "*" in known:
        same = [*headers, ("Content-Length", str(len(variant.body)))]
        return 304, response(304, b"", same, with_body=False)
    return 200, response(200, variant.body, headers, with_body=with_body)


def _policy(host: str) -> str:
    """Scripts, styles and connections of this gateway alone. Not every browser takes ``'self'`` for a WebSocket too, so it is named."""
    socket = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        f"default-src 'self'; connect-src 'self'{socket}; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def header(fields: bytes, name: str) -> str:
    """The value of a header among the lines of a head; empty if it is not there exactly once."""
    found = re.findall(rb"(?im)^%b:[ \t]*(.*?)[ \t]*\r?$" % re.escape(name.encode()), fields)
    return found[0].decode("latin-1") if len(found) == 1 else ""


# ---- the files


def _load(folder: Path) -> dict[bytes, _File]:
    """By path. The page itself is at ``/``."""
    if not (folder / "index.html").is_file():
        raise ConfigError(
            f"there is no page in {folder}: build it with `make web`, or leave out ui (a package from PyPI has it)"
        )
    files: dict[bytes, _File] = {}
    size = 0
    for path in sorted(each for each in folder.rglob("*") if each.suffix in _TYPES and each.is_file()):
        name = path.relative_to(folder).as_posix()
        files[f"/{name}".encode()] = file = _read(path, _FOREVER if name.startswith(_HASHED) else _ASK_AGAIN)
        size += sum(len(each.body) for each in file.variants)
        if size > MAX_BYTES:
            raise ConfigError(f"the page in {folder} has more than {MAX_BYTES} bytes")
    files[b"/"] = files[b"/index.html"]
    return files


def _read(path: Path, cache: str) -> _File:
    body = path.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:20]
    variants = [
        _Variant(encoding, packed.read_bytes(), f'"{digest}-{encoding}"')
        for encoding, suffix in _ENCODINGS
        if (packed := path.with_name(path.name + suffix)).is_file()
    ]
    return _File(_TYPES[path.suffix], cache, (*variants, _Variant("", body, f'"{digest}"')))
