"""The configuration of a gateway: one frozen structure, and how to load it.

The later source wins: defaults, the TOML file, ``MDSTREAM_*`` in the environment, flags. Keys are the field names: ``heartbeat_ms`` in
the file is ``MDSTREAM_HEARTBEAT_MS`` in the environment and ``--heartbeat-ms`` as a flag.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdstream.errors import ConfigError
from mdstream.gateway.activity_settings import ActivitySettings
from mdstream.gateway.config_sources import from_environment, from_file, from_flags, read_value
from mdstream.gateway.settings import (
    ExistingFile,
    Folder,
    Group,
    HostNames,
    InstrumentPatterns,
    NatsUrls,
    Numbers,
    Subset,
    Switch,
    Text,
    Whole,
    settings_of,
)
from mdstream.model import DEPTHS, GROUPS, INTERVALS_MS, MAX_NUMBER

_USER_INFO = re.compile(r"//[^/@]*@")

_bus = Group("NATS, where the market data comes from")
_listen = Group("where to listen")
_tls = Group("TLS for clients")
_served = Group("what to serve")
_session = Group("sessions of clients")
_bounds = Group("limits for clients")
_instruments = Group("instruments")
_usage = Group("records of who used what, in the JetStream stream MD_USAGE")
_drain = Group("stopping (SIGTERM or Ctrl-C; a second one stops at once)")
_log = Group("the log, on stderr")

_PORT = Whole(0, 65535)
_DAY_MS = 86_400_000


def _ms(least: int, greatest: int = _DAY_MS) -> Whole:
    return Whole(least, greatest, "milliseconds")


def _bytes(least: int, greatest: int) -> Whole:
    return Whole(least, greatest, "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(ActivitySettings):
    """All settings of a gateway; each field says what it protects."""

    nats: tuple[str, ...] = _bus(
        ("nats://127.0.0.1:4222",),
        NatsUrls(),
        "where the market data comes from: the URL of a NATS server with JetStream (for a cluster, "
        "several URLs with commas), file:PATH for URLs in a file, or embedded to start a server on this machine",
    )
    nats_credentials: Path | None = _bus(None, ExistingFile(), "NATS credentials file (.creds)")
    nats_nkey: Path | None = _bus(None, ExistingFile(), "file with the seed of a NATS nkey")
    nats_user: str | None = _bus(None, Text(), "NATS user name")
    nats_password: str | None = _bus(None, Text(), "NATS password; safer in the environment", secret=True)
    nats_password_file: Path | None = _bus(None, ExistingFile(), "file with the NATS password")
    nats_token: str | None = _bus(None, Text(), "NATS token; safer in the environment", secret=True)
    nats_token_file: Path | None = _bus(None, ExistingFile(), "file with a NATS token")
    nats_tls_ca: Path | None = _bus(None, ExistingFile(), "CA certificates (PEM) to verify NATS with")
    nats_tls_cert: Path | None = _bus(None, ExistingFile(), "our certificate (PEM) for NATS")
    nats_tls_key: Path | None = _bus(None, ExistingFile(), "our private key (PEM) for NATS")
    nats_inbox_prefix: str = _bus(
        "_INBOX",
        Text(),
        "how the subjects begin on which NATS answers; one of its own for each NATS user keeps others from reading the answers",
    )
    nats_api_prefix: str = _bus(
        "$JS.API",
        Text(),
        "how the subjects of JetStream's API begin; another where it is imported from another account",
    )
    nats_replicas: int = _bus(
        1,
        Whole(1, 5),
        "copies of each stream in a NATS cluster, when it is created; if a stream that exists has fewer, the log says so",
    )
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
    admin_hosts: tuple[str, ...] = _listen(
        (),
        HostNames(),
        "names by which the admin pages may be asked for, besides localhost, addresses and admin_host; * is any name",
    )
    node: str = _listen(
        f"gateway-{secrets.token_hex(4)}",
        Text(placeholder="NAME"),
        "name of this gateway, shown to clients; by default a new one at each start, which does not tell the machine's",
    )
    workers: int = _listen(
        1,
        Whole(0, 256),
        "processes that serve clients, each with a part of them; 0 is one for each CPU; more than one needs Linux",
    )
    backlog: int = _listen(
        4_096, Whole(1, 65535), "connections that the kernel holds until the gateway accepts them"
    )

    tls_cert: Path | None = _tls(
        None,
        ExistingFile(),
        "certificate chain (PEM): clients then connect by wss://; it and its key are read again when they change, and at SIGHUP",
    )
    tls_key: Path | None = _tls(None, ExistingFile(), "private key (PEM) of tls_cert")
    tls_minimum: str = _tls(
        "1.2",
        Text(("1.2", "1.3")),
        "oldest version of TLS that is accepted; 1.3 is used where the client has it",
    )
    tls_client_ca: Path | None = _tls(
        None, ExistingFile(), "authorities (PEM) of certificates that clients show of themselves"
    )
    tls_client_auth: str = _tls(
        "required",
        Text(("required", "optional")),
        "whether a client must show a certificate of tls_client_ca; where it is optional, a client without one may log in otherwise",
    )
    tls_client_subject: str = _tls(
        "common_name",
        Text(("common_name", "email", "uri", "dns")),
        "what of its certificate is a client's subject: the common name, or the first such name of subjectAltName",
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
    delay_max_bytes: int = _served(
        1_073_741_824,
        _bytes(1_048_576, 2**50),
        "size of the stream MD_PAST, from which a gateway with delay_ms reads snapshots; counts when the stream is created",
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
    ui: bool = _served(
        False,
        Switch(),
        "whether to serve the trading page to browsers, at / of the clients' port",
    )

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
    notsent_lowat_bytes: int = _session(
        131_072,
        _bytes(0, 2**30),
        "bytes that the kernel takes for a client's socket before it can send them (TCP_NOTSENT_LOWAT); what the network "
        "has under way is not counted; 0 leaves it to the kernel",
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

    max_unread_bytes: int = _session(
        33_554_432,
        _bytes(65_536, 2**40),
        "data that may wait in memory for clients that do not read, of all together; beyond it, those that have read nothing for "
        "two seconds are closed with 4408, the largest first",
    )

    max_connections: int = _bounds(
        10_000, Whole(1, 100000000), "clients at a time; further clients are answered 503"
    )
    max_handshakes: int = _bounds(
        2_000,
        Whole(1, 1000000),
        "connections at a time whose upgrade request or TLS handshake is not complete; further ones are answered 503 at once",
    )
    accepts_per_second: int = _bounds(
        5_000,
        Whole(1, 1000000),
        "connections that are taken per second, and at once; further ones are answered 503 before anything is done for them",
    )
    max_memory_bytes: int = _bounds(
        0,
        Whole(0, 2**50, "bytes"),
        "memory of the process: from 85 % on no new clients and instruments are taken, at all of it the newest clients are closed "
        "with 1013; 0 is no limit",
    )
    max_message_bytes: int = _bounds(
        65_536, _bytes(1024, 2**24), "size of one message from a client; a larger one closes it with 1009"
    )
    max_commands_per_message: int = _bounds(
        2_000, Whole(1, 100000), "commands in one MessagePack message; what follows them is not read"
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
    max_grouped_bytes: int = _bounds(
        67_108_864,
        _bytes(0, 2**40),
        "memory of the grouped views of all clients together; further ones are refused as limit_subscriptions",
    )
    max_boards: int = _bounds(
        8,
        Whole(0, 1000),
        "subscriptions of one client to lists and boards of instruments; more are refused as limit_subscriptions",
    )
    max_board_rows: int = _bounds(
        2_000,
        Whole(1, 20000),
        "instruments of one board, which are all opened for it; a subscribe to more is refused as limit_subscriptions",
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
    decoded_bytes_per_second: int = _bounds(
        262_144,
        _bytes(1, 2**40),
        "bytes of messages from one client per second, decompressed, in the long run",
    )
    decoded_bytes_burst: int = _bounds(
        4_194_304,
        _bytes(1, 2**40),
        "the same at once; a message beyond it is not read, and refused as rate_limited",
    )
    levels_per_second: int = _bounds(
        1_000_000,
        Whole(1, 2**40),
        "levels, changes and trades that are read for one client's subscribe and recover per second, in the long run",
    )
    levels_burst: int = _bounds(
        32_000_000, Whole(1, 2**40), "the same at once; what goes beyond is refused as rate_limited"
    )
    answer_bytes_per_second: int = _bounds(
        8_388_608,
        _bytes(1, 2**40),
        "bytes, as estimated, that one client's subscribe, recover and ping are answered with per second, in the long run",
    )
    answer_bytes_burst: int = _bounds(
        536_870_912, _bytes(1, 2**40), "the same at once; what goes beyond is refused as rate_limited"
    )
    control_frames_per_second: int = _bounds(
        20, Whole(1, 1000000), "WebSocket pings and pongs of one client per second, in the long run"
    )
    control_frames_burst: int = _bounds(
        200,
        Whole(1, 1000000),
        "the same at once; then only the newest ping is answered, and a client that sends as many again is closed with 4429",
    )

    open_timeout_ms: int = _instruments(
        5_000, _ms(100), "time for an instrument to open; then the answer is unavailable"
    )
    warm: tuple[str, ...] = _instruments(
        (),
        InstrumentPatterns(),
        "instruments that are opened at start, before clients are taken, besides those that gateways served within the last hour; "
        "1,000 of all together at most",
    )
    warm_ms: int = _instruments(
        5_000,
        _ms(0, 600_000),
        "how long clients are not taken after the start, while NATS is connected and instruments open; 0 takes them at once",
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

    usage_enabled: bool = _usage(
        False,
        Switch(),
        "whether to store, for each minute, which user had which instruments, with depth and delay; `mdstream usage` sums it up",
    )
    usage_keep_days: int = _usage(
        40, Whole(1, 3650), "how long the records are kept; counts when the stream is created"
    )
    usage_max_bytes: int = _usage(
        1_073_741_824,
        _bytes(65_536, 2**50),
        "size of the stream; beyond it the oldest records go; counts when the stream is created",
    )
    usage_backlog_bytes: int = _usage(
        16_777_216,
        _bytes(65_536, 2**40),
        "records that wait in memory while NATS is away; beyond it the oldest go",
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
    audit_lines_per_second: int = _log(
        50,
        Whole(0, 100000),
        "lines of the audit log, of each kind of event: logins, refusals, limits, revocations; more are told in one summary a "
        "second; 0 writes none",
    )

    def __post_init__(self) -> None:
        """Checks the fields against each other; raises ConfigError."""
        for cert, key in (("tls_cert", "tls_key"), ("nats_tls_cert", "nats_tls_key")):
            if (getattr(self, cert) is None) != (getattr(self, key) is None):
                raise ConfigError(f"{cert} and {key} must be given together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError(
                "tls_client_ca needs tls_cert and tls_key: clients show certificates over TLS alone"
            )
        if self.auth_certificate is not None and self.tls_client_ca is None:
            raise ConfigError(
                "auth_certificate needs tls_client_ca: the authorities of clients' certificates"
            )
        for secret in ("nats_password", "nats_token"):
            if getattr(self, secret) is not None and getattr(self, f"{secret}_file") is not None:
                raise ConfigError(f"{secret} and {secret}_file: one of them is enough")
        if (self.nats_user is None) != (self.nats_password is None and self.nats_password_file is None):
            raise ConfigError("nats_user and nats_password must be given together")
        for budget in (
            "commands",
            "decoded_bytes",
            "levels",
            "answer_bytes",
            "control_frames",
            "publishes",
            "puts",
            "alerts",
        ):
            self._check_budget(budget)
        self.check_auth()

    def _check_budget(self, budget: str) -> None:
        burst, per_second = getattr(self, f"{budget}_burst"), getattr(self, f"{budget}_per_second")
        if burst < per_second:
            raise ConfigError(
                f"{budget}_burst is {burst}; it must be at least {budget}_per_second, {per_second}"
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
    sources = (from_file(file, known), from_environment(environ, known), from_flags(flags or {}, known))
    for place, name, raw, is_text in (item for source in sources for item in source):
        values[name] = read_value(place, known[name], raw, is_text)
        places[name] = place
    try:
        return GatewayConfig(**values)
    except ConfigError as error:
        given = [place for name, place in places.items() if re.search(rf"\b{name}\b", str(error))]
        raise ConfigError(f"{error} (set by {', '.join(given)})" if given else str(error)) from None


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
