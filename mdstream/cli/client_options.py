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
from typing import Any

import uvloop

from mdstream.auth.identity import is_name
from mdstream.client import DEFAULT_URL, ConnectionFailed
from mdstream.client.urls import check_url
from mdstream.errors import ConfigError
from mdstream.model import InstrumentId

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
    parser.add_argument(
        "--token",
        metavar="JWT",
        default=os.environ.get("MDSTREAM_TOKEN"),
        help="sent as Authorization: Bearer; safer in the environment as MDSTREAM_TOKEN, or in a file",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, help="a file with the token, read again before it expires"
    )
    parser.add_argument(
        "--for", dest="for_s", metavar="TIME", type=duration_s, help="end after this time: 500ms, 10s, 5m, 1h"
    )


def token_of(args: argparse.Namespace) -> str | Callable[[], str] | None:
    """The ``token`` to connect with. Raises ConfigError for a file that cannot be read now."""
    path = args.token_file
    if path is None:
        return args.token if args.token is None else str(args.token)

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
