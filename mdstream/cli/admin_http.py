"""Asks the admin address of a gateway, for commands of operators."""

from __future__ import annotations

import argparse
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from mdstream.errors import ConfigError, MdstreamError
from mdstream.printable import printable

DEFAULT_ADMIN: Final = "http://127.0.0.1:8081"
CONNECT_S: Final = 10.0
MOST_BYTES: Final = 16_777_216
"""Of an answer, and of a line of one that goes on."""


def add_admin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--admin",
        type=admin_url,
        default=DEFAULT_ADMIN,
        metavar="URL",
        help="the admin address of the gateway (default: %(default)s)",
    )


def admin_url(text: str) -> str:
    """The type of ``--admin``. Raises ConfigError, which is shown in one line."""
    try:
        url = urlsplit(text)
        is_valid = url.scheme == "http" and bool(url.hostname) and url.port != 0 and url.path in ("", "/")
    except ValueError:
        is_valid = False
    if not is_valid or url.query or url.fragment or url.username is not None:
        raise ConfigError(f"--admin: {printable(text)} is no address like {DEFAULT_ADMIN}")
    return text


def fetch(admin: str, path: str, query: Mapping[str, str]) -> Any:
    """A JSON answer. Raises MdstreamError."""
    with _asked(admin, path, query, CONNECT_S) as answer:
        body = answer.read(MOST_BYTES)
    try:
        return json.loads(body)
    except ValueError:
        raise MdstreamError(f"{admin} does not answer as a gateway's admin address does") from None


def follow(admin: str, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
    """The lines of an answer that goes on, until it ends. Raises MdstreamError."""
    with _asked(admin, path, query, None) as answer:
        while line := answer.readline(MOST_BYTES):
            yield line


@contextmanager
def _asked(
    admin: str, path: str, query: Mapping[str, str], timeout_s: float | None
) -> Iterator[http.client.HTTPResponse]:
    url = urlsplit(admin)
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=CONNECT_S)
    try:
        connection.connect()
        connection.request("GET", f"{path}?{urlencode(query)}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise MdstreamError(f"{admin} says: {_said(answer)}")
        if timeout_s is None and connection.sock is not None:
            connection.sock.settimeout(None)
        yield answer
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MdstreamError(
            f"{admin} cannot be asked: {why}; is it the admin address of a gateway that runs?"
        ) from None
    finally:
        connection.close()


def _said(answer: http.client.HTTPResponse) -> str:
    text = answer.read(2_000).decode("utf-8", "replace").strip()
    return f"{printable(text)} ({answer.status})" if text else str(answer.status)
