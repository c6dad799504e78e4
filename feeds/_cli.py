"""What all feed handlers share on the command line: NATS options, signals, exit codes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from mdstream import logs
from mdstream.bus import BusOptions, StreamOptions
from mdstream.bus.options import secret
from mdstream.errors import BusError, ConfigError, MdstreamError
from mdstream.feed import LeaseOptions, Publisher
from mdstream.feed.lease import GO_ON
from mdstream.printable import printable_lines

log = logging.getLogger("mdstream.feeds")

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_NATS = 3
EXIT_CODES = "exit codes: 0 done, or stopped by Ctrl-C or SIGTERM; 1 failed; 2 wrong usage; 3 NATS cannot be reached or refuses us"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}

_NATS = {
    "nats": (
        "URL",
        "a server's URL, nats://host:4222 or tls://host:4222; repeat it, or separate URLs by commas, for a cluster "
        "or file:PATH for URLs in a file (default: nats://127.0.0.1:4222)",
    ),
    "nats_credentials": ("FILE", "credentials file, as written by nsc"),
    "nats_nkey": ("FILE", "file with the seed of an nkey"),
    "nats_user": ("NAME", "user name"),
    "nats_password": ("TEXT", "the user's password; safer in the environment or in a file"),
    "nats_password_file": ("FILE", "file with the user's password"),
    "nats_token": ("TEXT", "a token; safer in the environment or in a file"),
    "nats_token_file": ("FILE", "file with a token"),
    "nats_tls_ca": ("FILE", "certificates (PEM) to check the server's certificate against"),
    "nats_tls_cert": ("FILE", "our certificate (PEM), if the server asks for one"),
    "nats_tls_key": ("FILE", "the key of our certificate (PEM)"),
    "nats_api_prefix": (
        "TEXT",
        "how the subjects of JetStream's API begin, where it is imported from another account (default: $JS.API)",
    ),
    "nats_inbox_prefix": ("TEXT", "how the subjects begin on which NATS answers (default: _INBOX)"),
    "nats_replicas": (
        "N",
        "copies of each stream in a NATS cluster, 1 to 5, when it is created; if a stream that exists has fewer, the log says so "
        "(default: 1)",
    ),
}
"""Name → placeholder, help."""
_LEASE = {
    "lease": (
        "GROUP",
        "share the instruments with other handlers that name the same group: one publishes, the others follow and take over. "
        "SIGUSR1 hands over, and so does a stop",
    ),
    "lease_ttl": ("TIME", "how long a writer that is not heard keeps its place (default: 2s)"),
    "lease_unknown": (
        "go-on|stop",
        "what the writer does while JetStream does not answer: go on, for nobody can take its place there, or stop "
        "(default: go-on)",
    ),
}
_LOG = {"log_level": ("info", "debug", "warning", "error"), "log_format": ("text", "json")}
"""Name → choices, the default first."""

Run = Callable[[argparse.Namespace, BusOptions], Coroutine[Any, Any, int]]


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows a default where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, False) else action.help


def configure(parser: argparse.ArgumentParser, description: str) -> None:
    """Adds the options that all handlers share; the handler adds its own.

    Names, environment variables and meanings are those of ``mdstream serve``.
    """
    parser.description = description
    parser.epilog = EXIT_CODES
    parser.formatter_class = _Formatter
    nats = parser.add_argument_group(
        "NATS", "each of these is also an environment variable: --nats-user is MDSTREAM_NATS_USER"
    )
    for name, (metavar, text) in _NATS.items():
        action = "append" if name == "nats" else "store"
        nats.add_argument(_flag(name), metavar=metavar, action=action, help=text, default=argparse.SUPPRESS)
    log = parser.add_argument_group("the log, on stderr", "also MDSTREAM_LOG_LEVEL and MDSTREAM_LOG_FORMAT")
    for name, choices in _LOG.items():
        metavar = "|".join(choices)
        text = f"default: {choices[0]}"
        log.add_argument(_flag(name), choices=choices, metavar=metavar, help=text, default=argparse.SUPPRESS)


def configure_lease(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a handler that others may stand by for."""
    lease = parser.add_argument_group(
        "redundancy", "also MDSTREAM_LEASE, MDSTREAM_LEASE_TTL and MDSTREAM_LEASE_UNKNOWN"
    )
    for name, (metavar, text) in _LEASE.items():
        lease.add_argument(_flag(name), metavar=metavar, help=text, default=argparse.SUPPRESS)


def lease_options(arguments: argparse.Namespace) -> LeaseOptions | None:
    """None without ``--lease``. Raises ConfigError."""
    group, ttl, unknown = (_given(arguments, name) for name in _LEASE)
    if group is None:
        if ttl is not None or unknown is not None:
            raise ConfigError("--lease-ttl and --lease-unknown need the --lease that they are about")
        return None
    try:
        return LeaseOptions(group, duration_s(ttl or "2s"), unknown or GO_ON)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--lease-ttl: {error}") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _given(arguments: argparse.Namespace, name: str) -> str | None:
    """An option as a flag, else as an environment variable."""
    given = getattr(arguments, name, None) or os.environ.get(f"MDSTREAM_{name.upper()}") or None
    return ",".join(given) if isinstance(given, list) else given


def bus_options(arguments: argparse.Namespace, name: str) -> BusOptions:
    """The bus options from the arguments and the environment. Raises ConfigError."""
    given = {option: _given(arguments, option) for option in _NATS}
    files = {option: Path(text) for option, text in given.items() if text and _NATS[option][0] == "FILE"}
    return BusOptions.parse(
        given["nats"] or "nats://127.0.0.1:4222",
        name=name,
        credentials=files.get("nats_credentials"),
        nkey=files.get("nats_nkey"),
        user=given["nats_user"],
        password=secret(given["nats_password"], files.get("nats_password_file")),
        token=secret(given["nats_token"], files.get("nats_token_file")),
        tls_ca=files.get("nats_tls_ca"),
        tls_cert=files.get("nats_tls_cert"),
        tls_key=files.get("nats_tls_key"),
        inbox_prefix=given["nats_inbox_prefix"] or "_INBOX",
        api_prefix=given["nats_api_prefix"] or "$JS.API",
        streams=StreamOptions(replicas=_replicas(given["nats_replicas"] or "1")),
    )


def _replicas(text: str) -> int:
    if text not in ("1", "2", "3", "4", "5"):
        raise ConfigError(f"nats_replicas is {text!r}; it must be a whole number from 1 to 5")
    return int(text)


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
    try:
        configure_log(arguments)
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


def configure_log(arguments: argparse.Namespace) -> None:
    """The log on stderr, from the arguments and the environment. Raises ConfigError."""
    logs.configure(*(_log_option(arguments, option) for option in _LOG))
    # The bus and the handlers report the same failures as nats-py and picows.
    for noisy in ("nats", "picows"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def _log_option(arguments: argparse.Namespace, name: str) -> str:
    given = _given(arguments, name) or _LOG[name][0]
    if given not in _LOG[name]:
        variable = f"MDSTREAM_{name.upper()}"
        raise ConfigError(
            f"environment variable {variable} is {given!r}; it must be one of {', '.join(_LOG[name])}"
        )
    return given


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
    """Runs ``work`` to its end. If another writer takes over an instrument, cancels it and raises SequenceError.

    SIGUSR1 hands over to a handler that follows.
    """
    loop = asyncio.get_running_loop()
    orders: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGUSR1, lambda: orders.add(loop.create_task(_hand_over(publisher))))
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


async def _hand_over(publisher: Publisher) -> None:
    if not await publisher.hand_over():
        log.warning("SIGUSR1: no other handler follows, so we go on")


def _fail(name: str, error: Exception, code: int) -> int:
    print(f"mdstream feed {name}: {printable_lines(error)}", file=sys.stderr)
    return code
