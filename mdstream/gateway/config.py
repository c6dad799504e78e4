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
from typing import Annotated, Any

from mdstream.errors import ConfigError
from mdstream.gateway.settings import (
    ExistingFile,
    Folder,
    NatsUrls,
    Setting,
    Subset,
    Switch,
    Text,
    Whole,
    settings_of,
)
from mdstream.model import DEPTHS, INTERVALS_MS

ENV_PREFIX = "MDSTREAM_"

# Environment variables with our prefix that are not settings: the build, tests and benchmarks read them, and
# Kubernetes sets the last two kinds in every pod of a namespace that has a Service named mdstream.
_FOREIGN_ENV = re.compile(r"MDSTREAM_(BUILD|BIN|ARGS|DATA|CONFIG|SERVICE_\w+|PORT_\d+_\w+)")

_USER_INFO = re.compile(r"//[^/@]*@")

_PORT = Whole(0, 65535)
_DAY_MS = 86_400_000


def _ms(least: int, greatest: int = _DAY_MS) -> Whole:
    return Whole(least, greatest, "milliseconds")


def _bytes(least: int, greatest: int) -> Whole:
    return Whole(least, greatest, "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """All settings of a gateway; each field says what it protects."""

    # ---- the bus
    nats: Annotated[
        tuple[str, ...],
        Setting(
            NatsUrls(),
            "bus",
            "where the market data comes from: the URL of a NATS server with JetStream (for a cluster, "
            "several URLs with commas), or embedded to start a server on this machine",
        ),
    ] = ("nats://127.0.0.1:4222",)
    nats_credentials: Annotated[
        Path | None, Setting(ExistingFile(), "bus", "NATS credentials file (.creds)")
    ] = None
    nats_user: Annotated[str | None, Setting(Text(), "bus", "NATS user name")] = None
    nats_password: Annotated[
        str | None, Setting(Text(), "bus", "NATS password; better set in the environment", secret=True)
    ] = None
    nats_token: Annotated[
        str | None, Setting(Text(), "bus", "NATS token; better set in the environment", secret=True)
    ] = None
    nats_tls_ca: Annotated[
        Path | None, Setting(ExistingFile(), "bus", "CA certificates (PEM) to verify NATS with")
    ] = None
    nats_tls_cert: Annotated[
        Path | None, Setting(ExistingFile(), "bus", "our certificate (PEM) for NATS")
    ] = None
    nats_tls_key: Annotated[Path | None, Setting(ExistingFile(), "bus", "our private key (PEM) for NATS")] = (
        None
    )
    nats_parser: Annotated[
        str,
        Setting(
            Text(("compiled", "plain"), placeholder="compiled|plain"),
            "bus",
            "how NATS is read: compiled, without a Python object per message, or plain, by the parser of nats-py",
        ),
    ] = "compiled"
    coalesce_max_ms: Annotated[
        int,
        Setting(
            Whole(0, 1000),
            "bus",
            "how long updates wait at most to meet others: half as long as a flush takes, while every flush finds the next "
            "waiting; where all subscriptions have intervals, a tenth of the shortest; 0 never waits",
        ),
    ] = 10
    nats_data_dir: Annotated[
        Path | None,
        Setting(
            Folder(),
            "bus",
            "where the embedded NATS server keeps its data; without it, in a directory that is deleted when it stops",
        ),
    ] = None

    # ---- where to listen
    host: Annotated[
        str,
        Setting(Text(placeholder="ADDRESS"), "listen", "address for clients; 0.0.0.0 is all IPv4 addresses"),
    ] = "127.0.0.1"
    port: Annotated[int, Setting(_PORT, "listen", "port for clients; 0 picks a free one")] = 8080
    admin_host: Annotated[
        str, Setting(Text(placeholder="ADDRESS"), "listen", "address of /healthz, /readyz and /metrics")
    ] = "127.0.0.1"
    admin_port: Annotated[
        int, Setting(_PORT, "listen", "port of /healthz, /readyz and /metrics; 0 picks a free one")
    ] = 8081
    tls_cert: Annotated[
        Path | None,
        Setting(ExistingFile(), "listen", "certificate chain (PEM): clients then connect by wss://"),
    ] = None
    tls_key: Annotated[Path | None, Setting(ExistingFile(), "listen", "private key (PEM) of tls_cert")] = None
    node: Annotated[
        str, Setting(Text(placeholder="NAME"), "listen", "name of this gateway, as clients see it")
    ] = socket.gethostname() or "mdstream"
    backlog: Annotated[
        int,
        Setting(
            Whole(1, 65535), "listen", "connections that the kernel holds until the gateway accepts them"
        ),
    ] = 4_096

    # ---- what is served
    depths: Annotated[
        tuple[int, ...],
        Setting(Subset(DEPTHS), "served", "depths of a book that clients may ask for; 0 is the full book"),
    ] = DEPTHS
    intervals_ms: Annotated[
        tuple[int, ...],
        Setting(
            Subset(INTERVALS_MS), "served", "conflation intervals that clients may ask for; 0 is every change"
        ),
    ] = INTERVALS_MS

    compression: Annotated[
        bool,
        Setting(
            Switch(),
            "served",
            "whether clients that offer permessage-deflate get compressed messages: a half to a quarter of the "
            "bytes; each message is compressed once, however many clients subscribe",
        ),
    ] = True
    compression_level: Annotated[
        int, Setting(Whole(1, 9), "served", "1 is fast; 9 takes several times as long and saves a tenth more")
    ] = 1
    compression_threshold_bytes: Annotated[
        int, Setting(_bytes(1, 2**24), "served", "smaller messages are not compressed")
    ] = 256

    # ---- the life of a session
    heartbeat_ms: Annotated[
        int,
        Setting(
            _ms(100),
            "session",
            "at least this often, a client gets a message and a ping; a client that is silent for three times as "
            "long is closed with 1001",
        ),
    ] = 15_000
    handshake_ms: Annotated[
        int, Setting(_ms(100), "session", "time for a new connection to send its upgrade request")
    ] = 5_000
    slow_limit_ms: Annotated[
        int, Setting(_ms(100), "session", "a client whose socket stays full for longer is closed with 4408")
    ] = 30_000
    send_buffer_bytes: Annotated[
        int,
        Setting(
            _bytes(0, 2**30),
            "session",
            "kernel send buffer of a client's socket; 0 leaves it to the kernel; in a small one less old "
            "data piles up",
        ),
    ] = 0
    io_uring: Annotated[
        bool,
        Setting(
            Switch(),
            "session",
            "whether to write to clients with io_uring, to many in one system call, if the kernel has it "
            "(Linux 6.1) and allows it; otherwise one call for each client",
        ),
    ] = True
    control_backlog_bytes: Annotated[
        int,
        Setting(
            _bytes(65_536, 2**30),
            "session",
            "answers that may wait in memory for a client that does not read; then it is closed with 4408. "
            "Market data never piles up",
        ),
    ] = 1_048_576

    # ---- bounds: what one client, or all together, may cost
    max_connections: Annotated[
        int, Setting(Whole(1, 1000000), "bounds", "clients at a time; further clients are answered 503")
    ] = 10_000
    max_handshakes: Annotated[
        int,
        Setting(
            Whole(1, 1000000),
            "bounds",
            "connections at a time whose upgrade request or TLS handshake is not complete; further ones are answered 503 at once",
        ),
    ] = 2_000
    max_message_bytes: Annotated[
        int,
        Setting(
            _bytes(1024, 2**24),
            "bounds",
            "size of one message from a client; a larger one closes it with 1009",
        ),
    ] = 65_536
    max_subscriptions: Annotated[
        int,
        Setting(
            Whole(1, 100000), "bounds", "subscriptions of one client; more are refused as limit_subscriptions"
        ),
    ] = 1_000
    max_instruments_per_command: Annotated[
        int,
        Setting(Whole(1, 100000), "bounds", "instruments in one subscribe; more are refused as bad_value"),
    ] = 1_000
    max_errors: Annotated[
        int,
        Setting(
            Whole(1, 1000000000),
            "bounds",
            "error budget: how many commands of a client may fail at once before it is closed with "
            "4400; the budget refills evenly within a minute",
        ),
    ] = 1_000
    commands_per_second: Annotated[
        int, Setting(Whole(1, 1000000), "bounds", "commands of one client per second, in the long run")
    ] = 200
    commands_burst: Annotated[
        int,
        Setting(
            Whole(1, 10000000), "bounds", "commands of one client at once; more are refused as rate_limited"
        ),
    ] = 2_000

    # ---- the open instruments
    open_timeout_ms: Annotated[
        int,
        Setting(_ms(100), "instruments", "time for an instrument to open; then the answer is unavailable"),
    ] = 5_000
    linger_ms: Annotated[
        int,
        Setting(_ms(0), "instruments", "how long an instrument stays open after its last subscriber left"),
    ] = 60_000
    stale_after_ms: Annotated[
        int,
        Setting(
            _ms(0, 7 * _DAY_MS),
            "instruments",
            "an instrument without an update for longer is stale; 0 never",
        ),
    ] = 60_000
    log_capacity: Annotated[
        int,
        Setting(Whole(64, 2**24), "instruments", "level changes kept per book: how far back a gap is filled"),
    ] = 16_384
    trade_capacity: Annotated[int, Setting(Whole(16, 2**24), "instruments", "trades kept per instrument")] = (
        4_096
    )
    max_levels: Annotated[
        int,
        Setting(Whole(16, 2**24), "instruments", "levels on one side of a book; deeper updates are refused"),
    ] = 65_536

    # ---- the end
    drain_spread_ms: Annotated[
        int,
        Setting(_ms(0, 600000), "drain", "how long it takes to send the clients away when the gateway stops"),
    ] = 5_000
    drain_deadline_ms: Annotated[
        int, Setting(_ms(0, 600000), "drain", "when the gateway stops, even if clients are still connected")
    ] = 10_000

    # ---- the log
    log_level: Annotated[
        str, Setting(Text(("debug", "info", "warning", "error")), "log", "debug, info, warning or error")
    ] = "info"
    log_format: Annotated[
        str, Setting(Text(("text", "json")), "log", "text, or json: one object per line")
    ] = "text"

    def __post_init__(self) -> None:
        """Checks the fields against each other; raises ConfigError."""
        for cert, key in (("tls_cert", "tls_key"), ("nats_tls_cert", "nats_tls_key")):
            if (getattr(self, cert) is None) != (getattr(self, key) is None):
                raise ConfigError(f"{cert} and {key} must be given together")
        if (self.nats_user is None) != (self.nats_password is None):
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
