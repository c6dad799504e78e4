"""Makes the authenticator that the configuration describes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mdstream.auth.api_keys import ApiKeys, read_api_keys
from mdstream.auth.authenticator import Authenticator, CacheOptions, Methods
from mdstream.auth.callback import Callback, CallbackOptions
from mdstream.auth.fetch import is_loopback
from mdstream.auth.identity import Identity
from mdstream.auth.jwks import JwksKeys, JwksTimes
from mdstream.auth.keys import KeySet, pem_key, read_jwk_set, secret_key
from mdstream.auth.revocations import Revocations
from mdstream.auth.sources import FileKeys, FixedKeys, WatchedFile
from mdstream.auth.tokens import Issuer, KeySource, TokenVerifier
from mdstream.errors import ConfigError
from mdstream.gateway.auth_settings import IssuerSettings
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.origin import Origins

Clock = Callable[[], float]


def make_authenticator(
    config: GatewayConfig,
    revocations: Revocations,
    *,
    wall_s: Clock = time.time,
    now_s: Clock = time.monotonic,
) -> Authenticator | None:
    """None if nobody is asked who he is. Raises ConfigError for keys that cannot be used, and where strangers could connect."""
    config.check_exposure(config.host)
    if not config.asks_who:
        return None
    watched: list[WatchedFile] = []
    methods = Methods(
        tokens=_tokens(config, wall_s, now_s),
        api_keys=_api_keys(config, watched, wall_s, now_s),
        callback=_callback(config, wall_s, now_s),
        certificate=config.auth_certificate,
        anonymous=None
        if config.auth_anonymous is None
        else Identity("anonymous", "anonymous", config.auth_anonymous),
    )
    cache = CacheOptions(
        config.auth_cache_size, config.auth_cache_ms / 1000, config.auth_callback_cache_ms / 1000
    )
    return Authenticator(methods, revocations, cache, now_s=now_s, watched=watched)


def warning(config: GatewayConfig) -> str | None:
    """What anyone who starts a gateway should know; None if clients are asked who they are."""
    if config.asks_who:
        return None
    if config.auth == "none":
        return f"auth is none: anyone who reaches {config.host} may connect and see everything"
    return "no credentials are configured: every program on this machine may connect and see everything (docs/authentication.md)"


def make_origins(config: GatewayConfig) -> Origins:
    """On loopback, without credentials, a page must not reach the gateway by a name of its own."""
    return Origins(config.origin_allow, any_host=config.asks_who or not is_loopback(config.host))


def _tokens(config: GatewayConfig, wall_s: Clock, now_s: Clock) -> TokenVerifier | None:
    issuers = [
        Issuer(each.issuer, frozenset(each.audience), _source(each, config, now_s)) for each in config.issuers
    ]
    if not issuers:
        return None
    return TokenVerifier(issuers, leeway_s=config.auth_leeway_ms / 1000, wall_s=wall_s, now_s=now_s)


def _source(issuer: IssuerSettings, config: GatewayConfig, now_s: Clock) -> KeySource:
    if issuer.jwks_url is not None:
        times = JwksTimes(config.auth_jwks_refresh_ms / 1000, config.auth_jwks_keep_ms / 1000)
        return JwksKeys(issuer.jwks_url, times, now_s=now_s)
    if issuer.secret is not None:
        try:
            return FixedKeys(KeySet([secret_key(issuer.secret.encode())]))
        except ValueError as error:
            raise ConfigError(f"auth_secret cannot be used: {error}") from None
    if issuer.secret_file is not None:
        return FileKeys((issuer.secret_file,), lambda texts: KeySet([secret_key(texts[0].strip())]))
    if issuer.jwks_file is not None:
        return FileKeys((issuer.jwks_file,), lambda texts: _not_empty(read_jwk_set(texts[0], trusted=True)))
    return FileKeys(issuer.key_file, lambda texts: KeySet(map(pem_key, texts)))


def _not_empty(keys: KeySet) -> KeySet:
    if not len(keys):
        raise ValueError("it has no key of HS256, RS256, ES256 or EdDSA for signatures")
    return keys


def _api_keys(
    config: GatewayConfig, watched: list[WatchedFile], wall_s: Clock, now_s: Clock
) -> ApiKeys | None:
    path: Path | None = config.auth_api_keys_file
    if path is None:
        return None
    keys = ApiKeys({}, wall_s=wall_s, now_s=now_s)
    watched.append(WatchedFile((path,), lambda texts: keys.use(read_api_keys(texts[0]))))
    return keys


def _callback(config: GatewayConfig, wall_s: Clock, now_s: Clock) -> Callback | None:
    if config.auth_callback_url is None:
        return None
    options = CallbackOptions(
        config.auth_callback_url, config.auth_callback_headers, config.auth_callback_timeout_ms / 1000
    )
    return Callback(options, wall_s=wall_s, now_s=now_s)
