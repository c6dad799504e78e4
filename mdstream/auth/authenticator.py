"""Credentials to identities: what was verified lately at once, everything else within bounds of time and number."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mdstream.auth import reasons
from mdstream.auth.api_keys import ApiKeys, is_signed
from mdstream.auth.callback import Callback, digest_of
from mdstream.auth.credentials import Credentials, digest_of_token
from mdstream.auth.entitlements import Entitlements
from mdstream.auth.identity import Identity
from mdstream.auth.jwks import JwksKeys
from mdstream.auth.recent import Recent
from mdstream.auth.revocations import Revocations
from mdstream.auth.sources import FileKeys, WatchedFile
from mdstream.auth.tokens import KeyWanted, TokenVerifier
from mdstream.errors import ConfigError, Unauthorized

TURN_S = 0.001
"""Signatures are checked for at most this long, and one more, in a turn of the loop: a storm of new tokens delays no market data."""


@dataclass(frozen=True, slots=True)
class Methods:
    """What is configured; what is None is not taken."""

    tokens: TokenVerifier | None = None
    api_keys: ApiKeys | None = None
    callback: Callback | None = None
    certificate: Entitlements | None = None
    """Of those who show a certificate, and nothing else."""
    anonymous: Identity | None = None


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """How many verified credentials are remembered, and for how long at most; a callback's answers shorter."""

    size: int = 100_000
    token_s: float = 300.0
    callback_s: float = 60.0


class Authenticator:
    """``known`` answers at once or not at all; ``authenticate`` always answers, by an identity or an error.

    The order: a token, else an API key, else the callback, else a certificate, else anonymous. What is there decides: a wrong token is
    never anonymous.
    """

    def __init__(
        self,
        methods: Methods,
        revocations: Revocations,
        cache: CacheOptions | None = None,
        *,
        now_s: Callable[[], float] = time.monotonic,
        watched: Iterable[WatchedFile] = (),
    ) -> None:
        """``watched``: further files that methods depend on."""
        self._methods = methods
        self._revocations = revocations
        self._cache = cache or CacheOptions()
        self._now_s = now_s
        keys = (source for source in self._sources() if isinstance(source, FileKeys))
        self._files = [*(source.file for source in keys), *watched]
        self._recent: Recent[Identity] = Recent(self._cache.size, now_s)
        self._forgot = 0
        """How often everything was forgotten: what was judged before it is not remembered after it."""
        self._waiting: deque[tuple[Callable[[], Identity], asyncio.Future[Identity]]] = deque()
        self._working: asyncio.Task[None] | None = None
        self.verified_total = 0
        """Signatures and callbacks that were judged, whatever came of it; the cache saves the others."""
        for source in self.key_sets:
            source.on_withdrawn = self.forget

    # ---- for the gateway

    @property
    def takes_tokens(self) -> bool:
        return self._methods.tokens is not None

    @property
    def api_keys(self) -> ApiKeys | None:
        return self._methods.api_keys

    @property
    def cached(self) -> int:
        return len(self._recent)

    @property
    def key_sets(self) -> list[JwksKeys]:
        """The issuers' keys that come from URLs."""
        return [source for source in self._sources() if isinstance(source, JwksKeys)]

    def start(self) -> None:
        for source in self.key_sets:
            source.start()

    async def stop(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        for source in self.key_sets:
            await source.stop()
        if self._methods.callback is not None:
            await self._methods.callback.stop()

    def look_at_files(self) -> None:
        """Reads key files that have changed; call it every few seconds."""
        for file in self._files:
            if file.look():
                self.forget()

    def reload(self) -> None:
        """Reads all key files again, and asks the URLs. Raises ConfigError for those that cannot be used; the others are in use."""
        wrong = []
        for file in self._files:
            try:
                file.reload()
            except ConfigError as error:
                wrong.append(str(error))
        self.forget()
        for source in self.key_sets:
            source.ask()
        if wrong:
            raise ConfigError("; ".join(wrong))

    def forget(self) -> None:
        """Keys have changed: every token is verified again."""
        self._forgot += 1
        self._recent.clear()

    # ---- judging

    def known(self, credentials: Credentials) -> Identity | None:
        """The identity of a token that was verified lately, or of one who is asked for nothing; None: ``authenticate``."""
        if credentials.token is None:
            return self._without_token(credentials)
        return self.known_token(credentials.token)

    def known_token(self, token: bytes) -> Identity | None:
        """The identity of a token that was verified lately; None: ``authenticate``."""
        if self._methods.tokens is None:
            return None
        digest = digest_of_token(token)
        identity = self._recent.get(digest)
        if identity is not None and self._revocations.covers(identity):
            self._recent.drop(digest)
            return None
        return identity

    async def authenticate(self, credentials: Credentials) -> Identity:
        """Raises Unauthorized, or CannotJudge."""
        identity = self.known(credentials) or await self._judge(credentials)
        if identity.expires_at_s <= self._now_s():
            raise Unauthorized(reasons.EXPIRED)
        if self._revocations.covers(identity):
            raise Unauthorized(reasons.REVOKED)
        return identity

    def _without_token(self, credentials: Credentials) -> Identity | None:
        methods = self._methods
        if methods.api_keys is not None and is_signed(credentials):
            return None
        if methods.callback is not None and methods.callback.question(credentials):
            return None
        certified = self._certified(credentials)
        if certified is None:
            return methods.anonymous
        return None if self._revocations.covers(certified) else certified

    def _certified(self, credentials: Credentials) -> Identity | None:
        certificate, grants = credentials.certificate, self._methods.certificate
        if certificate is None or grants is None:
            return None
        return Identity(
            certificate.subject,
            "certificate",
            grants,
            expires_us=certificate.expires_us,
            expires_at_s=certificate.expires_at_s,
        )

    async def _judge(self, credentials: Credentials) -> Identity:
        methods = self._methods
        if methods.tokens is not None and credentials.token is not None:
            return await self._verify_token(methods.tokens, credentials)
        if (api_keys := methods.api_keys) is not None and is_signed(credentials):
            return await self._in_turn(lambda: api_keys.verify(credentials))
        if methods.callback is not None and (question := methods.callback.question(credentials)):
            name = digest_of(question)
            identity = self._recent.get(name)
            if identity is None:
                self.verified_total += 1
                identity = await methods.callback.ask(question, name)
                self._remember(name, identity, self._cache.callback_s)
            return identity
        if credentials.token is None and (certified := self._certified(credentials)) is not None:
            return certified
        raise Unauthorized(reasons.MISSING)

    async def _verify_token(self, tokens: TokenVerifier, credentials: Credentials) -> Identity:
        token = credentials.token or b""
        forgot = self._forgot
        try:
            identity = await self._in_turn(lambda: tokens.verify(token))
        except KeyWanted as wanted:
            await _update(wanted)
            forgot = self._forgot
            identity = await self._in_turn(lambda: _verify_now(tokens, token))
        if forgot == self._forgot:
            self._remember(credentials.digest(), identity, self._cache.token_s)
        return identity

    def _remember(self, name: bytes, identity: Identity, most_s: float) -> None:
        self._recent.put(name, identity, min(identity.expires_at_s, self._now_s() + most_s))

    def _sources(self) -> list[object]:
        tokens = self._methods.tokens
        return [] if tokens is None else [issuer.source for issuer in tokens.issuers]

    # ---- so many signatures in a turn of the loop

    async def _in_turn(self, judge: Callable[[], Identity]) -> Identity:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Identity] = loop.create_future()
        self._waiting.append((judge, future))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            until_s = self._now_s() + TURN_S
            while self._waiting and self._now_s() <= until_s:
                judge, future = self._waiting.popleft()
                if not future.done():
                    self.verified_total += 1
                    _settle(judge, future)
            await asyncio.sleep(0)


def _settle(judge: Callable[[], Identity], future: asyncio.Future[Identity]) -> None:
    try:
        future.set_result(judge())
    except Exception as error:
        future.set_exception(error)


def _verify_now(tokens: TokenVerifier, token: bytes) -> Identity:
    """After the keys were fetched: what is unknown still is unknown."""
    try:
        return tokens.verify(token)
    except KeyWanted:
        raise Unauthorized(reasons.UNKNOWN_KEY) from None


async def _update(wanted: KeyWanted) -> None:
    source = wanted.issuer.source
    if isinstance(source, JwksKeys):
        await source.update()
