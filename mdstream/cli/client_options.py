"""Options that several commands share, and how a command ends at a signal."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypedDict

import uvloop

from mdstream.auth.identity import is_name
from mdstream.client import DEFAULT_URL, ClientKey, ConnectionFailed
from mdstream.client.urls import check_url
from mdstream.errors import ConfigError
from mdstream.model import InstrumentId

TOKEN_ENV: Final = "MDSTREAM_TOKEN"
API_KEY_ENV: Final = "MDSTREAM_API_KEY_FILE"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def add_connection(parser: argparse.ArgumentParser, *, format: str) -> None:
    """Adds the options for the connection to a gateway."""
    parser.add_argument(
        "--url",
        type=gateway_urls,
        default=DEFAULT_URL,
        metavar="URL[,URL…]",
        help="the gateway; with several, the next one if one fails (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        choices=("json", "msgpack"),
        default=format,
        help="message encoding (default: %(default)s)",
    )
    parser.add_argument(
        "--compression", action="store_true", help="ask for compressed messages (permessage-deflate)"
    )
    add_credentials(parser)
    parser.add_argument(
        "--for", dest="for_s", metavar="TIME", type=duration_s, help="end after this time: 500ms, 10s, 5m, 1h"
    )


def add_credentials(parser: argparse._ActionsContainer) -> None:
    """Adds the options that say who connects: ``credentials_of`` reads them."""
    add = parser.add_argument
    add(
        "--token",
        metavar="JWT",
        help="sent as Authorization: Bearer; safer in the environment as MDSTREAM_TOKEN, or in a file",
    )
    add("--token-file", metavar="FILE", type=Path, help="a file with the token, read again before it expires")
    add(
        "--api-key-file",
        metavar="FILE",
        type=Path,
        help="a file with an API key (as `mdstream token --new-api-key` makes it), which signs each request to connect; also in "
        "the environment as MDSTREAM_API_KEY_FILE",
    )


class Credentials(TypedDict, total=False):
    """Of ``mdstream.client.connect``; at most one of them."""

    token: str | Callable[[], str]
    api_key: ClientKey


def credentials_of(args: argparse.Namespace) -> Credentials:
    """What the options say; without any of them, the environment. Raises ConfigError for two options, or a file that cannot be used."""
    found = {name: getattr(args, name) for name in ("token", "token_file", "api_key_file")}
    given = [name for name, value in found.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(
            f"{' and '.join('--' + name.replace('_', '-') for name in given)}: give one of them"
        )
    if not given:
        found["token"], key_file = os.environ.get(TOKEN_ENV), os.environ.get(API_KEY_ENV)
        found["api_key_file"] = Path(key_file) if key_file and not found["token"] else None
    if found["api_key_file"] is not None:
        return {"api_key": ClientKey.read(found["api_key_file"])}
    if found["token_file"] is not None:
        return {"token": _token_from(found["token_file"])}
    return {"token": str(found["token"])} if found["token"] else {}


def _token_from(path: Path) -> Callable[[], str]:
    def read() -> str:
        return str(path.read_text(encoding="ascii").strip())

    try:
        read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--token-file: {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    return read


def add_view(parser: argparse.ArgumentParser, *, depth: int, interval_ms: int) -> None:
    """Adds the options for the view of a book."""
    parser.add_argument(
        "--depth",
        type=natural,
        default=depth,
        metavar="N",
        help="levels per side, 0 is all (default: %(default)s)",
    )
    parser.add_argument(
        "--group", type=positive, default=1, metavar="TICKS", help="add up levels per TICKS (default: 1)"
    )
    parser.add_argument(
        "--interval-ms",
        type=natural,
        default=interval_ms,
        metavar="MS",
        help="at most one update in this time, 0 for every change (default: %(default)s)",
    )


def gateway_urls(text: str) -> tuple[str, ...]:
    """The type of ``--url``. Raises ConfigError, which is shown without the usage: the error is one line."""
    try:
        return tuple(check_url(url.strip()) for url in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--url: {error}") from None


def has_screen() -> bool:
    """Whether stdout is a terminal that can be drawn on; a dumb one takes lines only."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def instrument(text: str) -> str:
    """The type of an argument that names an instrument."""
    try:
        return str(InstrumentId.parse(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def name(text: str) -> str:
    """The type of an argument that names a subject, a key, a token or a session."""
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 to 256 printable characters")
    return text


def duration_s(text: str) -> float:
    """Seconds from ``500ms``, ``10s``, ``1.5m``, ``1h``, or from a plain number of seconds."""
    match = _DURATION.fullmatch(text)
    if match is None or (seconds := float(match[1]) * _SECONDS[match[2]]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; it reads 500ms, 10s, 5m or 1h")
    return seconds


def reachable(error: ConnectionFailed) -> ConnectionFailed:
    """The error with a hint at its likely cause."""
    return ConnectionFailed(f"{error}; is `mdstream serve` running there?")


def run_until_signal(main: Coroutine[Any, Any, int]) -> int:
    """Runs ``main`` and returns its result. SIGINT and SIGTERM cancel it; the result is then 130 or 143 unless it catches that."""
    received: list[signal.Signals] = []

    async def guarded() -> int:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_on_loop_exception)

        def stop(number: signal.Signals) -> None:
            received.append(number)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        with suppress(asyncio.CancelledError):
            return await task
        return 128 + received[0] if received else 1

    return uvloop.run(guarded())


def _on_loop_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leaves out a failed TLS handshake, which the client reports in one line."""
    if context.get("message") != "SSL handshake failed":
        loop.default_exception_handler(context)


def natural(text: str) -> int:
    """A whole number from 0 on."""
    return _at_least(text, 0)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    return _at_least(text, 1)


def _at_least(text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {least} on")
    return int(text)
