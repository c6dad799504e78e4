"""The configuration of a gateway: one frozen structure, and how to load it.

The later source wins: defaults, the TOML file, ``MDSTREAM_*`` in the environment, flags. Keys are the field names: ``heartbeat_ms`` in
the file is ``MDSTREAM_HEARTBEAT_MS`` in the environment and ``--heartbeat-ms`` as a flag.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mdstream.errors import ConfigError
from mdstream.gateway.settings import (
    ExistingFile,
    Folder,
    Group,
    NatsUrls,
    Numbers,
    Setting,
    Subset,
    Switch,
    Text,
    Whole,
    settings_of,
)
from mdstream.model import DEPTHS, GROUPS, INTERVALS_MS, MAX_NUMBER

ENV_PREFIX = "MDSTREAM_"

# Environment variables with our prefix that are not settings: the build, tests and benchmarks read them, and
# Kubernetes sets the last two kinds in every pod of a namespace that has a Service named mdstream.
_FOREIGN_ENV = re.compile(r"MDSTREAM_(BUILD|BIN|ARGS|DATA|CONFIG|SERVICE_\w+|PORT_\d+_\w+)")

_USER_INFO = re.compile(r"//[^/@]*@")

_bus = Group("NATS, where the market data comes from")
_listen = Group("where to listen")
_served = Group("what to serve")
_session = Group("sessions of clients")
_bounds = Group("limits for clients")
_instruments = Group("instruments")
_drain = Group("stopping (SIGTERM or Ctrl-C; a second one stops at once)")
_log = Group("the log, on stderr")

_PORT = Whole(0, 65535)
_DAY_MS = 86_400_000


def _ms(least: int, greatest: int = _DAY_MS) -> Whole:
    return Whole(least, greatest, "milliseconds")


def _bytes(least: int, greatest: int) -> Whole:
    return Whole(least, greatest, "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """All settings of a gateway; each field says what it protects."""

    nats: tuple[str, ...] = _bus(
        ("nats://127.0.0.1:4222",),
        NatsUrls(),
        "where the market data comes from: the URL of a NATS server with JetStream (for a cluster, "
        "several URLs with commas), or embedded to start a server on this machine",
    )
    nats_credentials: Path | None = _bus(None, ExistingFile(), "NATS credentials file (.creds)")
    nats_user: str | None = _bus(None, Text(), "NATS user name")
    nats_password: str | None = _bus(None, Text(), "NATS password; safer in the environment", secret=True)
    nats_password_file: Path | None = _bus(None, ExistingFile(), "file with the NATS password")
    nats_token: str | None = _bus(None, Text(), "NATS token; safer in the environment", secret=True)
    nats_token_file: Path | None = _bus(None, ExistingFile(), "file with a NATS token")
    nats_tls_ca: Path | None = _bus(None, ExistingFile(), "CA certificates (PEM) to verify NATS with")
    nats_tls_cert: Path | None = _bus(None, ExistingFile(), "our certificate (PEM) for NATS")
    nats_tls_key: Path | None = _bus(None, ExistingFile(), "our private key (PEM) for NATS")
    nats_parser: str = _bus(
        "compiled",
        Text(("compiled", "plain"), placeholder="compiled|plain"),
        "how NATS is read: compiled, without a Python object per message, or plain, by the parser of nats-py",
    )
    coalesce_max_ms: int = _bus(
        10,
        Whole(0, 1000),
        "how long updates wait at most to meet others: half as long as a flush takes, while every flush finds the next "
        "waiting; where all subscriptions have intervals, a tenth of the shortest; 0 never waits",
    )
    nats_port: int = _bus(0, _PORT, "port of the embedded NATS server, on loopback; 0 picks a free one")
    nats_data_dir: Path | None = _bus(
        None, Folder(), "where the embedded NATS server keeps its data; by default in a temporary directory"
    )

    host: str = _listen(
        "127.0.0.1",
        Text(placeholder="ADDRESS"),
        "address for clients; * is every address, IPv4 and IPv6, 0.0.0.0 every IPv4 address, :: every IPv6 address",
    )
    port: int = _listen(8080, _PORT, "port for clients; 0 picks a free one")
    admin_host: str = _listen(
        "127.0.0.1", Text(placeholder="ADDRESS"), "address of /healthz, /readyz and /metrics; as host"
    )
    admin_port: int = _listen(8081, _PORT, "port of /healthz, /readyz and /metrics; 0 picks a free one")
    tls_cert: Path | None = _listen(
        None,
        ExistingFile(),
        "certificate chain (PEM): clients then connect by wss://; SIGHUP reads it and its key again",
    )
    tls_key: Path | None = _listen(None, ExistingFile(), "private key (PEM) of tls_cert")
    node: str = _listen(
        socket.gethostname() or "mdstream", Text(placeholder="NAME"), "name of this gateway, shown to clients"
    )
    backlog: int = _listen(
        4_096, Whole(1, 65535), "connections that the kernel holds until the gateway accepts them"
    )

    depths: tuple[int, ...] = _served(
        DEPTHS, Subset(DEPTHS), "depths of a book that clients may ask for; 0 is the full book"
    )
    intervals_ms: tuple[int, ...] = _served(
        INTERVALS_MS, Subset(INTERVALS_MS), "conflation intervals that clients may ask for; 0 is every change"
    )
    groups: tuple[int, ...] = _served(
        GROUPS,
        Numbers(2, MAX_NUMBER, 64),
        "groups of ticks in which a book is always shown, and these times an instrument's tick; other groups are shown while "
        "max_other_groups allows",
    )

    delay_ms: int = _served(
        0,
        _ms(0),
        "how old market data is shown: what was published so long ago, for clients that are entitled to no more; MD_LOG must "
        "keep ten minutes more than that",
    )
    compression: bool = _served(
        True,
        Switch(),
        "whether clients that offer permessage-deflate get compressed messages: a half to a quarter of the "
        "bytes; each message is compressed once, however many clients subscribe",
    )
    compression_level: int = _served(
        1, Whole(1, 9), "1 is fast; 9 takes several times as long and saves a tenth more"
    )
    compression_threshold_bytes: int = _served(256, _bytes(1, 2**24), "smaller messages are not compressed")

    heartbeat_ms: int = _session(
        15_000,
        _ms(100),
        "at least this often, a client gets a message and a ping; a client that is silent for three times as "
        "long is closed with 1001",
    )
    handshake_ms: int = _session(5_000, _ms(100), "time for a new connection to send its upgrade request")
    slow_limit_ms: int = _session(
        30_000, _ms(100), "a client whose socket stays full for longer is closed with 4408"
    )
    send_buffer_bytes: int = _session(
        0,
        _bytes(0, 2**30),
        "kernel send buffer of a client's socket; 0 leaves it to the kernel; in a small one less old "
        "data piles up",
    )
    io_uring: bool = _session(
        True,
        Switch(),
        "whether to write to clients with io_uring, to many in one system call, if the kernel has it "
        "(Linux 6.1) and allows it; otherwise one call for each client",
    )
    control_backlog_bytes: int = _session(
        1_048_576,
        _bytes(65_536, 2**30),
        "answers that may wait in memory for a client that does not read; then it is closed with 4408. "
        "Market data never piles up",
    )

    max_connections: int = _bounds(
        10_000, Whole(1, 1000000), "clients at a time; further clients are answered 503"
    )
    max_handshakes: int = _bounds(
        2_000,
        Whole(1, 1000000),
        "connections at a time whose upgrade request or TLS handshake is not complete; further ones are answered 503 at once",
    )
    max_message_bytes: int = _bounds(
        65_536, _bytes(1024, 2**24), "size of one message from a client; a larger one closes it with 1009"
    )
    max_subscriptions: int = _bounds(
        1_000, Whole(1, 100000), "subscriptions of one client; more are refused as limit_subscriptions"
    )
    max_grouped: int = _bounds(
        32,
        Whole(0, 100000),
        "grouped views of one client (group above 1); more are refused as limit_subscriptions",
    )
    max_other_groups: int = _bounds(
        16,
        Whole(0, 100000),
        "views of one instrument in groups that are not among groups, of all clients together; more are refused as "
        "limit_subscriptions",
    )
    max_instruments_per_command: int = _bounds(
        1_000, Whole(1, 100000), "instruments in one subscribe; more are refused as bad_value"
    )
    max_errors: int = _bounds(
        1_000,
        Whole(1, 1000000000),
        "error budget: how many commands of a client may fail at once before it is closed with "
        "4400; the budget refills evenly within a minute",
    )
    commands_per_second: int = _bounds(
        200, Whole(1, 1000000), "commands of one client per second, in the long run"
    )
    commands_burst: int = _bounds(
        2_000, Whole(1, 10000000), "commands of one client at once; more are refused as rate_limited"
    )
    recovered_per_second: int = _bounds(
        50_000,
        Whole(1, 10**9),
        "levels and trades computed for the recovers of one client per second, in the long run",
    )
    recovered_burst: int = _bounds(
        200_000, Whole(1, 10**9), "as many at once; more are refused as rate_limited"
    )

    open_timeout_ms: int = _instruments(
        5_000, _ms(100), "time for an instrument to open; then the answer is unavailable"
    )
    linger_ms: int = _instruments(
        60_000, _ms(0), "how long an instrument stays open after its last subscriber left"
    )
    stale_after_ms: int = _instruments(
        30_000, _ms(0, 7 * _DAY_MS), "an instrument whose venue is silent for longer is stale; 0 never"
    )
    log_capacity: int = _instruments(
        16_384, Whole(64, 2**24), "level changes kept per book: how far back a gap is filled"
    )
    trade_capacity: int = _instruments(4_096, Whole(16, 2**24), "trades kept per instrument")
    max_levels: int = _instruments(
        65_536, Whole(16, 2**24), "levels on one side of a book; deeper updates are refused"
    )

    drain_spread_ms: int = _drain(
        5_000, _ms(0, 600000), "how long it takes to send the clients away when the gateway stops"
    )
    drain_deadline_ms: int = _drain(
        10_000, _ms(0, 600000), "when the gateway stops, even if clients are still connected"
    )

    log_level: str = _log(
        "info", Text(("debug", "info", "warning", "error")), "debug, info, warning or error"
    )
    log_format: str = _log("text", Text(("text", "json")), "text, or json: one object per line")

    def __post_init__(self) -> None:
        """Checks the fields against each other; raises ConfigError."""
        for cert, key in (("tls_cert", "tls_key"), ("nats_tls_cert", "nats_tls_key")):
            if (getattr(self, cert) is None) != (getattr(self, key) is None):
                raise ConfigError(f"{cert} and {key} must be given together")
        for secret in ("nats_password", "nats_token"):
            if getattr(self, secret) is not None and getattr(self, f"{secret}_file") is not None:
                raise ConfigError(f"{secret} and {secret}_file: one of them is enough")
        if (self.nats_user is None) != (self.nats_password is None and self.nats_password_file is None):
            raise ConfigError("nats_user and nats_password must be given together")
        if self.commands_burst < self.commands_per_second:
            raise ConfigError(
                f"commands_burst is {self.commands_burst}; it must be at least commands_per_second, {self.commands_per_second}"
            )


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> GatewayConfig:
    """Loads the configuration from a TOML file, the environment (default: the process's) and flags (field name → text).

    Raises ConfigError, naming the key, its place and what is allowed.
    """
    environ = os.environ if environ is None else environ
    known = settings_of(GatewayConfig)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    sources = (_from_file(file, known), _from_env(environ, known), _from_flags(flags or {}, known))
    for place, name, raw, is_text in (item for source in sources for item in source):
        values[name] = _read(place, known[name], raw, is_text)
        places[name] = place
    try:
        return GatewayConfig(**values)
    except ConfigError as error:
        given = [place for name, place in places.items() if re.search(rf"\b{name}\b", str(error))]
        raise ConfigError(f"{error} (set by {', '.join(given)})" if given else str(error)) from None


_Item = tuple[str, str, object, bool]
"""Place, field name, raw value, whether the value is text."""


def _from_file(file: Path | None, known: Mapping[str, Setting]) -> Iterable[_Item]:
    if file is None:
        return
    try:
        with file.open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    for name, raw in table.items():
        if name not in known:
            raise ConfigError(f"{file}: {name} is not a key{_hint(name, known)}")
        yield f"{file}: {name}", name, raw, False


def _from_env(environ: Mapping[str, str], known: Mapping[str, Setting]) -> Iterable[_Item]:
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or _FOREIGN_ENV.fullmatch(variable):
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name not in known:
            raise ConfigError(
                f"environment variable {variable} is not a key{_hint(name, known, variable_name)}"
            )
        yield f"environment variable {variable}", name, environ[variable], True


def _from_flags(flags: Mapping[str, str], known: Mapping[str, Setting]) -> Iterable[_Item]:
    for name, text in flags.items():
        yield flag_name(name), name, text, True


def _read(place: str, how: Setting, raw: object, is_text: bool) -> object:
    try:
        return how.kind.read_text(raw) if is_text and isinstance(raw, str) else how.kind.read(raw)
    except ValueError as error:
        shown = (
            "is not allowed; it must be a string of printable characters, not empty"
            if how.secret
            else str(error)
        )
        raise ConfigError(f"{place} {shown}") from None


def flag_name(name: str) -> str:
    """``heartbeat_ms`` → ``--heartbeat-ms``."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """``heartbeat_ms`` → ``MDSTREAM_HEARTBEAT_MS``."""
    return ENV_PREFIX + name.upper()


def _hint(name: str, known: Iterable[str], spell: Any = str) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {spell(close[0])}?" if close else "; `mdstream serve --help` lists all"


def describe(config: GatewayConfig) -> str:
    """The settings that differ from the defaults, without secrets, for the log at start."""
    parts = []
    for name, how in settings_of(GatewayConfig).items():
        value = getattr(config, name)
        if value != default_of(name) and not how.secret:
            parts.append(f"{name}={_USER_INFO.sub('//***@', spell(value))}")
    return " ".join(parts) or "all defaults"


def spell(value: object) -> str:
    """A value as it would be given in the environment or as a flag."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def default_of(name: str) -> object:
    """The default of a setting."""
    return GatewayConfig.__dataclass_fields__[name].default
