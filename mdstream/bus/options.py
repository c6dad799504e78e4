"""Where NATS is and how to authenticate: the options of every part that uses the bus."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mdstream.errors import ConfigError

SCHEMES = ("nats", "tls")
PARSERS = ("compiled", "plain")
FILE = "file:"

_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How ``MD_LOG`` and ``MD_STATE`` are created; an existing stream is not changed."""

    log_max_age_s: float = 600.0
    """How far back a gap can be recovered from the log, in seconds."""
    log_max_bytes: int = 1024 * 1024 * 1024
    """The log's bound in bytes, over all instruments; the oldest messages are dropped first."""
    past_max_bytes: int = 1024 * 1024 * 1024
    """That of MD_PAST, which delayed gateways read: with less than the delay needs, instruments of then cannot be opened."""
    log_storage: str = "file"
    """``file`` survives a restart of the server, when the log is needed most; ``memory`` does not use the disk."""
    replicas: int = 1
    """Copies of both streams in a NATS cluster."""


@dataclass(frozen=True, slots=True)
class BusOptions:
    """How to reach NATS. Give at most one of credentials file, nkey, user and password, token; or user and password in the URLs."""

    urls: tuple[str, ...] = field(default=("nats://127.0.0.1:4222",), repr=False)
    """Servers of one cluster; the client uses any of them."""
    credentials: Path | None = None
    """A ``.creds`` file as written by ``nsc``. Needs the package ``nkeys``."""
    nkey: Path | None = None
    """A file with the seed of an nkey (``SU…``)."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_ca: Path | None = None
    """Certificate authorities (PEM) for the server's certificate; without it, those of the system."""
    tls_cert: Path | None = None
    """Our own certificate (PEM), if the server asks for one; ``tls_key`` is its key."""
    tls_key: Path | None = None
    name: str = "mdstream"
    """Name of the connection in the server's monitoring."""
    inbox_prefix: str = "_INBOX"
    """How the subjects begin on which answers come. One of its own for each user keeps others from reading its answers."""
    api_prefix: str = "$JS.API"
    """How the subjects of JetStream's API begin; another where it is imported from another account."""
    connect_deadline_s: float = 5.0
    """How long ``connect`` tries before it gives up. A reconnect never gives up."""
    request_timeout_s: float = 5.0
    """How long an answer of JetStream may take."""
    replay_silence_s: float = 3.0
    """How long the server may be silent during a replay of the log; it sends a heartbeat every 0.5 s."""
    ping_interval_s: float = 2.0
    """A server that leaves two pings unanswered is considered dead; the connection is closed."""
    reconnect_base_s: float = 0.1
    reconnect_cap_s: float = 5.0
    """The n-th attempt to reconnect waits rand(0, min(cap, base·2^n)) seconds."""
    pending_bytes: int = 8 * 1024 * 1024
    """Bytes that may wait to be sent, also without a connection; beyond that ``publish`` raises BusUnavailable."""
    parser: str = field(default_factory=lambda: os.environ.get("MDSTREAM_NATS_PARSER", PARSERS[0]))
    """``compiled``: the compiled core reads market data from the socket, without a Python object per message. ``plain``: nats-py's
    own parser reads everything. Default: the environment variable ``MDSTREAM_NATS_PARSER``, else compiled."""
    echo: bool = True
    """Whether our own subscriptions get what we publish over this connection."""
    streams: StreamOptions = field(default_factory=StreamOptions)

    def __post_init__(self) -> None:
        if self.parser not in PARSERS:
            raise ConfigError(f"nats: parser is {self.parser!r}; it must be one of {', '.join(PARSERS)}")
        if not self.urls:
            raise ConfigError("nats: no URL was given; one reads nats://host:4222")
        for url in self.urls:
            _check_url(url)
        ways = [name for name in ("credentials", "nkey", "user", "token") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ConfigError(f"nats: {' and '.join(ways)} were given; one way to authenticate is enough")
        if (self.user is None) != (self.password is None):
            raise ConfigError("nats: user and password must be given together")
        if self.tls_key is not None and self.tls_cert is None:
            raise ConfigError("nats: tls_key was given without tls_cert")
        for name in ("inbox_prefix", "api_prefix"):
            if not _SUBJECT.fullmatch(prefix := getattr(self, name)):
                raise ConfigError(
                    f"nats: {name} is {prefix!r}; it must be tokens joined by dots, without * and >, as in _INBOX_sim"
                )
        for name in ("credentials", "nkey", "tls_ca", "tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise ConfigError(f"nats: {name} {str(path)!r} is no file that can be read")

    @classmethod
    def parse(cls, text: str, **more: object) -> BusOptions:
        """Options from a comma-separated list of URLs: ``nats://a:4222,nats://b:4222``, or ``file:PATH`` (``read_urls``).
        Raises ConfigError."""
        return cls(urls=read_urls(text.split(",")), **more)  # type: ignore[arg-type]

    @property
    def where(self) -> str:
        """The URLs for messages, without passwords."""
        return ", ".join(map(without_secrets, self.urls))

    @property
    def wants_tls(self) -> bool:
        return any(url.startswith("tls://") for url in self.urls) or bool(self.tls_ca or self.tls_cert)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Raises ConfigError if a certificate or key cannot be used."""
        if not self.wants_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.tls_ca) if self.tls_ca else None)
            if self.tls_cert is not None:
                context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in (self.tls_ca, self.tls_cert, self.tls_key) if path)
            raise ConfigError(f"nats: TLS files {files} cannot be used: {error}") from error
        return context


def read_urls(texts: Iterable[str]) -> tuple[str, ...]:
    """URLs, of which each ``file:PATH`` stands for those in that file: so a password is on no command line. Raises ConfigError."""
    found: list[str] = []
    for text in filter(None, map(str.strip, texts)):
        path = text.removeprefix(FILE) if text.startswith(FILE) else None
        found += [text] if path is None else (secret(None, Path(path)) or "").replace(",", " ").split()
    return tuple(found)


def secret(text: str | None, file: Path | None) -> str | None:
    """A password or a token: as it was given, or from a file. Raises ConfigError if the file cannot be read."""
    if file is None:
        return text
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_url(url: str) -> None:
    shown = without_secrets(url)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ConfigError(f"nats: URL {shown!r} must read nats://host:4222 or tls://host:4222")
    try:
        parts.port  # noqa: B018 - parsing it is what may fail
    except ValueError:
        raise ConfigError(f"nats: the port of URL {shown!r} must be a number up to 65535") from None


def without_secrets(url: str) -> str:
    """A URL for messages."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
