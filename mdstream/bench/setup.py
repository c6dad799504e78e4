"""The setup of a load test: what it starts, what already runs, on which CPUs."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from mdstream.errors import ConfigError

Authenticate: TypeAlias = Literal["same", "fresh"]

SPARE_FILES = 128
"""Open files of a process, its connections apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is the same for all profiles."""

    urls: tuple[str, ...] = ()
    """Running gateways; if empty, each measurement starts its own."""
    nats: str | None = None
    """A running NATS server; None starts our own."""
    admin: tuple[str, ...] = ()
    server_pids: tuple[int, ...] = ()
    server_cpus: tuple[int, ...] = ()
    load_cpus: tuple[int, ...] = ()
    server_args: tuple[str, ...] = ()
    """More options for ``mdstream serve``."""
    port: int = 0
    verify: int = 2
    """Connections per load process that keep their books and compare them."""
    repeat: int = 1
    floor_s: float = 2.0
    """How long to measure the C floor before and after each measurement; 0 is not at all."""
    token: str | None = field(default=None, repr=False)
    """Brought by each connection."""
    authenticate: Authenticate | None = None
    """Whether a gateway that is started asks for tokens, by a key made for it, and what connections bring: the ``same`` one, or each a
    ``fresh`` one that the gateway has not seen."""
    signing_key: str | None = field(default=None, repr=False)
    """Signs the fresh tokens."""
    tls: bool = False
    """Whether a gateway that is started has TLS, by a certificate made for it."""
    ca: str = ""
    """A file with the certificates to trust; empty: those that the system trusts."""
    workers: int = 1
    """Of a gateway that is started."""

    @property
    def secure(self) -> bool:
        """Whether connections speak TLS."""
        return self.tls or any(url.startswith("wss:") for url in self.urls)

    @property
    def gateways(self) -> list[tuple[str, int]]:
        """Host and port of each of ``urls``, which have been checked."""
        return [address(url) for url in self.urls]


def address(url: str) -> tuple[str, int]:
    """Host and port of ``ws://HOST:PORT/v1/stream`` or ``wss://…``. Raises ConfigError."""
    wanted = "it reads ws://HOST:PORT or wss://HOST:PORT, with HOST an IPv4 address or a name that has one"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
    except ValueError as error:
        raise ConfigError(f"--url {url!r} cannot be read ({error}); {wanted}") from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise ConfigError(f"--url {url!r} is no WebSocket URL; {wanted}")
    if parts.path.rstrip("/") not in ("", "/v1/stream"):
        raise ConfigError(f"--url {url!r} has the path {parts.path!r}; a gateway's stream is at /v1/stream")
    return host, port


def split_cpus(
    server: tuple[int, ...] | None, load: tuple[int, ...] | None, workers: int = 1
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """CPUs for the server and for all else; by default the first for the server, one for each of its
    workers as far as one is left, and the others for the load.

    With one CPU nothing is pinned. Raises ConfigError for CPUs that this process may not use.
    """
    usable = sorted(os.sched_getaffinity(0))
    for flag, asked in (("--server-cpus", server), ("--load-cpus", load)):
        unusable = sorted(set(asked or ()) - set(usable))
        if unusable:
            raise ConfigError(
                f"{flag} names CPU {unusable[0]}; this process may use {', '.join(map(str, usable))}"
            )
    if server is None:
        server = tuple(usable[: min(workers, len(usable) - 1)])
    if load is None:
        load = tuple(cpu for cpu in usable if cpu not in server) if server else ()
    return server, load


def raise_file_limit(needed: int) -> None:
    """Lets this process and those that it starts open so many connections each. Raises ConfigError above the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and needed + SPARE_FILES > hard:
        raise ConfigError(
            f"{needed:,} connections need {needed + SPARE_FILES:,} open files in one process, but it may have {hard:,}:"
            " raise `ulimit -n`, or spread the connections over more --processes"
            " (a gateway that is started here has all of them)"
        )
