"""What all feed handlers share on the command line: NATS options, signals, exit codes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from mdstream.bus import BusOptions
from mdstream.errors import BusError, ConfigError, MdstreamError
from mdstream.feed import Publisher

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_NATS = 3
EXIT_CODES = "exit codes: 0 done, or stopped by Ctrl-C or SIGTERM; 1 failed; 2 wrong usage; 3 NATS cannot be reached or refuses us"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}

Run = Callable[[argparse.Namespace, BusOptions], Coroutine[Any, Any, int]]


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, False) else action.help


def configure(parser: argparse.ArgumentParser, description: str) -> None:
    """Adds the options that all handlers share; the handler adds its own."""
    parser.description = description
    parser.epilog = EXIT_CODES
    parser.formatter_class = _Formatter
    nats = parser.add_argument_group("NATS")
    nats.add_argument(
        "--nats",
        metavar="URL",
        action="append",
        help="a server's URL, nats://host:4222 or tls://host:4222; repeat it, or separate URLs by commas, for a "
        "cluster (default: nats://127.0.0.1:4222)",
        default=argparse.SUPPRESS,
    )
    nats.add_argument("--nats-creds", metavar="FILE", type=Path, help="credentials file, as written by nsc")
    nats.add_argument("--nats-user", metavar="NAME", help="user name")
    nats.add_argument("--nats-password-file", metavar="FILE", type=Path, help="file with the user's password")
    nats.add_argument("--nats-token-file", metavar="FILE", type=Path, help="file with a token")
    nats.add_argument(
        "--tls-ca",
        metavar="FILE",
        type=Path,
        help="certificates (PEM) to check the server's certificate against",
    )
    nats.add_argument(
        "--tls-cert", metavar="FILE", type=Path, help="our certificate (PEM), if the server asks for one"
    )
    nats.add_argument("--tls-key", metavar="FILE", type=Path, help="the key of our certificate (PEM)")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")


def bus_options(arguments: argparse.Namespace, name: str) -> BusOptions:
    """The bus options from the arguments. Raises ConfigError."""
    urls = ",".join(getattr(arguments, "nats", None) or ["nats://127.0.0.1:4222"])
    return BusOptions.parse(
        urls,
        name=name,
        credentials=arguments.nats_creds,
        user=arguments.nats_user,
        password=_secret(arguments.nats_password_file),
        token=_secret(arguments.nats_token_file),
        tls_ca=arguments.tls_ca,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
    )


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def duration_s(text: str) -> float:
    """``500ms``, ``10s``, ``5m``, ``1h`` or plain seconds, for argparse."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write it like 500ms, 10s, 5m or 1h")
    return float(found[1]) * _SECONDS[found[2]]


def speed(text: str) -> float:
    """A factor greater than 0, or ``max`` (infinity), for argparse."""
    try:
        factor = math.inf if text == "max" else float(text)
    except ValueError:
        factor = math.nan
    if not factor > 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a speed; it must be a factor above 0, such as 1 or 0.5, or max"
        )
    return factor


def run(name: str, arguments: argparse.Namespace, main: Run) -> int:
    """Runs ``main`` until it returns or a signal comes, and returns the exit code; errors are one line on stderr."""
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
    )
    # The bus and the handlers report the same failures as nats-py and picows.
    for noisy in ("nats", "picows"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        options = bus_options(arguments, f"mdstream feed {name}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_until_signal(main(arguments, options)))
    except ConfigError as error:
        return _fail(name, error, EXIT_USAGE)
    except BusError as error:
        return _fail(name, error, EXIT_NO_NATS)
    except (MdstreamError, OSError) as error:
        return _fail(name, error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_OK


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Runs ``work``. The first SIGINT or SIGTERM cancels it, so that it can mark its instruments, and counts as success."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    signalled = False

    def stop() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if signalled:
            return EXIT_OK
        raise


async def unless_fenced(publisher: Publisher, work: Coroutine[Any, Any, None]) -> None:
    """Runs ``work`` to its end. If another writer takes over an instrument, cancels it and raises SequenceError."""
    tasks = [asyncio.ensure_future(each) for each in (work, publisher.fenced())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _fail(name: str, error: Exception, code: int) -> int:
    print(f"mdstream feed {name}: {error}", file=sys.stderr)
    return code
