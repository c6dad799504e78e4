"""The settings ``[auth]`` and ``[origin]``: who may connect, and from which web pages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mdstream.auth.entitlements import Entitlements
from mdstream.auth.fetch import check_url, is_loopback
from mdstream.errors import ConfigError
from mdstream.gateway.limit_settings import LimitSettings
from mdstream.gateway.origin import OriginRule
from mdstream.gateway.settings import ExistingFile, Group, Switch, Text, Whole
from mdstream.wording import written

AUDIENCE: Final = "mdstream"
_SOURCES: Final = ("key_file", "secret_file", "jwks_file", "jwks_url")
_ISSUER_KEYS: Final = ("issuer", "audience", *_SOURCES)

_auth = Group("who may connect", rank=1)
_origin = Group("web pages that may connect", rank=1)


@dataclass(frozen=True, slots=True)
class Names:
    """One or more strings of printable characters without commas."""

    placeholder: str = "NAME[,NAME…]"

    def read(self, raw: object) -> tuple[str, ...]:
        names = [raw] if isinstance(raw, str) else raw
        if not isinstance(names, list) or not names or not all(map(_is_word, names)):
            raise ValueError(
                f"is {written(raw)}; it must be a string, or a list of strings, printable and without commas"
            )
        return tuple(names)

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",")])


@dataclass(frozen=True, slots=True)
class HeaderNames(Names):
    """Names of HTTP headers, in lower case."""

    def read(self, raw: object) -> tuple[str, ...]:
        return tuple(name.lower() for name in Names.read(self, raw))


@dataclass(frozen=True, slots=True)
class ExistingFiles:
    """One or more files that can be read now."""

    placeholder: str = "FILE[,FILE…]"

    def read(self, raw: object) -> tuple[Path, ...]:
        names = raw if isinstance(raw, list) else [raw]
        if not names:
            raise ValueError("is empty; it must be the path of a file, or a list of them")
        return tuple(ExistingFile().read(name) for name in names)

    def read_text(self, text: str) -> tuple[Path, ...]:
        return self.read([part.strip() for part in text.split(",")])


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """``https://…``, or ``http://`` to this machine."""

    placeholder: str = "URL"

    def read(self, raw: object) -> str:
        if not isinstance(raw, str):
            raise ValueError(f"is {written(raw)}; it must be a URL")
        try:
            check_url(raw)
        except ValueError as error:
            raise ValueError(f"cannot be used: {error}") from None
        return raw

    def read_text(self, text: str) -> str:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class OriginList:
    """Origins: ``https://app.example.com``, ``https://*.example.com``, ``http://localhost:*``, or ``*``."""

    placeholder: str = "ORIGIN[,ORIGIN…]"

    def read(self, raw: object) -> tuple[str, ...]:
        origins = Names().read(raw)
        for origin in origins:
            if origin != "*":
                OriginRule.parse(origin)
        return origins

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",")])


class _Toml:
    """A value that is easiest to write in the file; as text it is TOML too."""

    placeholder: str

    def read(self, raw: object) -> object:
        raise NotImplementedError

    def read_text(self, text: str) -> object:
        try:
            return self.read(tomllib.loads(f"value = {text}")["value"])
        except tomllib.TOMLDecodeError:
            raise ValueError(f"is no TOML value; it reads {self.placeholder}") from None


class Grants(_Toml):
    """Entitlements, as in the claim ``md``."""

    placeholder = "{grants=[…]}"

    def read(self, raw: object) -> Entitlements:
        try:
            return Entitlements.from_claim(raw)
        except ValueError as error:
            raise ValueError(f"cannot be used: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One who signs tokens, and where the keys are: files, or a URL."""

    issuer: str | None
    audience: tuple[str, ...]
    key_file: tuple[Path, ...] = ()
    secret_file: Path | None = None
    jwks_file: Path | None = None
    jwks_url: str | None = None
    secret: str | None = None

    @property
    def sources(self) -> list[str]:
        """The names of those that are set."""
        return [name for name in (*_SOURCES, "secret") if getattr(self, name)]


class Issuers(_Toml):
    """``[[auth.issuers]]``, each with ``issuer``, ``audience`` and one of ``key_file``, ``secret_file``, ``jwks_file``, ``jwks_url``."""

    placeholder = "[{issuer=…}]"

    def read(self, raw: object) -> tuple[IssuerSettings, ...]:
        if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
            raise ValueError("must be a list of tables: [[auth.issuers]]")
        return tuple(_read_issuer(each, number) for number, each in enumerate(raw, 1))


_ISSUER_KINDS: Final[Mapping[str, Any]] = {
    "issuer": Text(),
    "audience": Names(),
    "key_file": ExistingFiles(),
    "secret_file": ExistingFile(),
    "jwks_file": ExistingFile(),
    "jwks_url": HttpUrl(),
}


def _read_issuer(table: Mapping[str, Any], number: int) -> IssuerSettings:
    for name in table:
        if name not in _ISSUER_KEYS:
            raise ValueError(f"[{number}] has the unknown key {name}; there are {', '.join(_ISSUER_KEYS)}")
    values: dict[str, Any] = {"audience": (AUDIENCE,)}
    for name, raw in table.items():
        try:
            values[name] = _ISSUER_KINDS[name].read(raw)
        except ValueError as error:
            raise ValueError(f"[{number}]: {name} {error}") from None
    if "issuer" not in values:
        raise ValueError(f"[{number}] has no issuer: the value of iss in its tokens")
    found = IssuerSettings(**values)
    if len(found.sources) != 1:
        raise ValueError(f"[{number}] must have one of {', '.join(_SOURCES)}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings(LimitSettings):
    """Who may connect. In the file, ``[auth]`` with ``issuer = …`` is ``auth_issuer``."""

    auth: str = _auth(
        "auto",
        Text(("auto", "none"), placeholder="auto|none"),
        "auto asks for what is configured below; if that is nothing, only this machine may connect. none lets everybody in",
    )
    auth_issuer: str | None = _auth(
        None, Text(), "iss that tokens must have; without it the key alone decides"
    )
    auth_audience: tuple[str, ...] = _auth((AUDIENCE,), Names(), "aud of which tokens must have one")
    auth_key_file: tuple[Path, ...] = _auth(
        (),
        ExistingFiles(),
        "public keys (PEM) that tokens are signed with: RSA, P-256 or Ed25519; read again when they change",
    )
    auth_secret: str | None = _auth(
        None, Text(), "HS256 secret of at least 32 bytes; safer in the environment", secret=True
    )
    auth_secret_file: Path | None = _auth(None, ExistingFile(), "file with an HS256 secret")
    auth_jwks_file: Path | None = _auth(None, ExistingFile(), "JWK set; read again when it changes")
    auth_jwks_url: str | None = _auth(None, HttpUrl(), "where the issuer publishes its JWK set")
    auth_issuers: tuple[IssuerSettings, ...] = _auth(
        (),
        Issuers(),
        "further issuers, in the file: [[auth.issuers]] with issuer, audience and one of key_file, secret_file, "
        "jwks_file, jwks_url",
    )
    auth_leeway_ms: int = _auth(
        30_000,
        Whole(0, 600_000, "milliseconds"),
        "how far the clocks of issuers may be from ours, for exp, nbf and iat",
    )
    auth_jwks_refresh_ms: int = _auth(
        600_000,
        Whole(10_000, 86_400_000, "milliseconds"),
        "how often a JWK set is fetched; an unknown kid fetches it at once",
    )
    auth_jwks_keep_ms: int = _auth(
        86_400_000,
        Whole(10_000, 30 * 86_400_000, "milliseconds"),
        "how long the last JWK set is used while it cannot be fetched",
    )
    auth_cache_size: int = _auth(
        100_000, Whole(0, 10_000_000), "verified credentials that are remembered; 0 remembers none"
    )
    auth_cache_ms: int = _auth(
        300_000,
        Whole(0, 86_400_000, "milliseconds"),
        "how long a verified token is remembered, at most until it expires",
    )
    auth_query_token: bool = _auth(
        False, Switch(), "whether a token may come in the query (?token=…), where proxies log it"
    )
    auth_reject_close: bool = _auth(
        True,
        Switch(),
        "whether ?reject=close is obeyed: a client with a wrong credential is let in, told so, and closed with 4401, because web "
        "pages cannot see a 401",
    )
    auth_max_pending: int = _auth(
        1_000,
        Whole(1, 1_000_000),
        "clients at a time whose credentials are being judged; further ones are answered 503",
    )
    auth_api_keys_file: Path | None = _auth(
        None,
        ExistingFile(),
        "API keys (TOML) of programs that sign their upgrade requests; read again when it changes",
    )
    auth_callback_url: str | None = _auth(
        None, HttpUrl(), "asked by POST who a client is, with the headers of auth_callback_headers"
    )
    auth_callback_headers: tuple[str, ...] = _auth(
        ("cookie", "authorization"), HeaderNames("HEADER[,HEADER…]"), "headers that auth_callback_url is sent"
    )
    auth_callback_timeout_ms: int = _auth(
        2_000, Whole(50, 60_000, "milliseconds"), "time for its answer; then the client is answered 503"
    )
    auth_callback_cache_ms: int = _auth(
        60_000, Whole(0, 86_400_000, "milliseconds"), "how long an identity that it gave is remembered"
    )
    auth_certificate: Entitlements | None = _auth(
        None,
        Grants(),
        "what clients may see that show a certificate of tls_client_ca and no other credential, as in the claim md; without this a "
        "certificate alone lets nobody in",
    )
    auth_anonymous: Entitlements | None = _auth(
        None,
        Grants(),
        "what clients without a credential may see, as in the claim md; without this they may not connect",
    )
    auth_single_session: bool = _auth(
        False,
        Switch(),
        "whether a new session of a subject closes its older one of the same line (1, or 2 by ?line=2), on all gateways, with 4409",
    )
    auth_revocations_unknown: str = _auth(
        "open",
        Text(("open", "closed"), placeholder="open|closed"),
        "whether new clients are let in while NATS is away, and with it the newest revocations",
    )
    origin_allow: tuple[str, ...] = _origin(
        (),
        OriginList(),
        "origins whose pages may connect; https://*.example.com is every subdomain, :* every port, * every origin. By default only "
        "pages of this gateway's own host and port",
    )

    @property
    def issuers(self) -> tuple[IssuerSettings, ...]:
        """All who sign tokens."""
        own = IssuerSettings(
            issuer=self.auth_issuer,
            audience=self.auth_audience,
            key_file=self.auth_key_file,
            secret_file=self.auth_secret_file,
            jwks_file=self.auth_jwks_file,
            jwks_url=self.auth_jwks_url,
            secret=self.auth_secret,
        )
        return (own, *self.auth_issuers) if own.sources else self.auth_issuers

    @property
    def asks_who(self) -> bool:
        """Whether anything of credentials is configured."""
        asks = (
            self.issuers,
            self.auth_api_keys_file,
            self.auth_callback_url,
            self.auth_certificate,
            self.auth_anonymous,
        )
        return any(each not in (None, ()) for each in asks)

    def check_auth(self) -> None:
        """Raises ConfigError for settings that contradict each other."""
        issuers = self.issuers
        if self.auth == "none" and self.asks_who:
            raise ConfigError("auth is none, but credentials are configured; remove one of them")
        for issuer in issuers:
            if len(issuer.sources) > 1:
                names = " and ".join(f"auth_{name}" for name in issuer.sources)
                raise ConfigError(f"{names}: the keys of an issuer come from one of them")
        own = [issuer.issuer for issuer in issuers]
        if len(own) > 1 and (None in own or len(set(own)) < len(own)):
            raise ConfigError("auth_issuer: each of several issuers must have a name of its own")

    def check_exposure(self, host: str) -> None:
        """Raises ConfigError if strangers could connect and nobody has said that they may."""
        if self.auth == "auto" and not self.asks_who and not is_loopback(host):
            raise ConfigError(
                f"host is {host}, where strangers can connect, and no credentials are configured; configure [auth] (see "
                "docs/authentication.md), or say --auth none to let everybody in"
            )


def _is_word(text: object) -> bool:
    return isinstance(text, str) and bool(text) and text.isprintable() and "," not in text
