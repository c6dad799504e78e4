"""What is asked of whom, in which order, and how much of it in a turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdstream.auth import reasons
from mdstream.auth.authenticator import TURN_S, Authenticator, CacheOptions, Methods
from mdstream.auth.credentials import Credentials, bearer, query_value, split_offer
from mdstream.auth.entitlements import ALL
from mdstream.auth.identity import Identity
from mdstream.auth.keys import KeySet, pem_key
from mdstream.auth.revocations import Revocation, Revocations
from mdstream.auth.sources import FileKeys, FixedKeys
from mdstream.auth.tokens import Issuer, TokenVerifier
from mdstream.errors import ConfigError, Unauthorized
from support.tokens import CLAIMS, NOW_S, public_pem, sign

ANONYMOUS = Identity("anonymous", "anonymous", ALL)
GOOD = sign({**CLAIMS, "iat": NOW_S})


class Desk:
    def __init__(self, *, anonymous: Identity | None = None, cache: CacheOptions | None = None) -> None:
        self.now_s = 100.0
        self.step_s = 0.0
        self.revocations = Revocations(lambda: 0)
        keys = FixedKeys(KeySet([pem_key(public_pem("EdDSA"))]))
        issuer = Issuer(None, frozenset({"mdstream"}), keys)
        tokens = TokenVerifier([issuer], leeway_s=30, wall_s=lambda: NOW_S, now_s=self.clock)
        methods = Methods(tokens, anonymous=anonymous)
        self.judge = Authenticator(methods, self.revocations, cache, now_s=self.clock)

    def clock(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    async def why(self, token: bytes | None) -> str:
        with pytest.raises(Unauthorized) as refused:
            await self.judge.authenticate(Credentials(token=token))
        return refused.value.why


def test_a_verified_token_is_known_until_it_is_old_expired_or_revoked(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        desk, credentials = Desk(cache=CacheOptions(token_s=60)), Credentials(token=GOOD)
        assert desk.judge.known(credentials) is None
        identity = await desk.judge.authenticate(credentials)
        assert desk.judge.known(credentials) is identity
        assert await desk.judge.authenticate(credentials) is identity and desk.judge.verified_total == 1
        desk.now_s += 60
        assert desk.judge.known(credentials) is None
        await desk.judge.authenticate(credentials)
        desk.revocations.take(Revocation("subject", "alice", NOW_S * 1_000_000))
        assert desk.judge.known(credentials) is None and desk.judge.cached == 0
        assert await desk.why(GOOD) == reasons.REVOKED
        desk.revocations.take(Revocation("subject", "alice", 0, lifted=True))
        assert (await desk.judge.authenticate(credentials)).subject == "alice"
        desk.judge.forget()
        assert desk.judge.known(credentials) is None

    run(scenario())


def test_a_step_of_the_wall_clock_after_the_verification_changes_nothing(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        desk = Desk(cache=CacheOptions(token_s=100_000))
        identity = await desk.judge.authenticate(Credentials(token=GOOD))
        assert identity.expires_at_s == 100 + 600 + 30
        desk.now_s = 729.0  # monotonic; the wall clock stands still, as if it had been set back
        assert desk.judge.known(Credentials(token=GOOD)) is identity
        desk.now_s = 730.0
        assert desk.judge.known(Credentials(token=GOOD)) is None

    run(scenario())


def test_a_wrong_token_is_never_anonymous(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        open_, closed = Desk(anonymous=ANONYMOUS), Desk()
        assert open_.judge.known(Credentials()) is ANONYMOUS
        assert await open_.why(b"x.y.z") == reasons.MALFORMED
        assert await closed.why(None) == reasons.MISSING
        assert await closed.why(b"") == reasons.MALFORMED

    run(scenario())


def test_signatures_are_checked_for_a_millisecond_in_a_turn_of_the_loop(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        desk = Desk()
        tokens = [sign({**CLAIMS, "jti": str(i)}) for i in range(50)]
        desk.step_s = TURN_S / 10  # each look at the clock
        tasks = [asyncio.ensure_future(desk.judge.authenticate(Credentials(token=token))) for token in tokens]
        most, before = 0, 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            most, before = max(most, desk.judge.verified_total - before), desk.judge.verified_total
        assert 1 <= most <= 10 and desk.judge.verified_total == 50

    run(scenario())


def test_the_cache_is_bounded(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        desk = Desk(cache=CacheOptions(size=2))
        for i in range(5):
            await desk.judge.authenticate(Credentials(token=sign({**CLAIMS, "jti": str(i)})))
        assert desk.judge.cached == 2

    run(scenario())


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        (b"Bearer a.b.c", b"a.b.c"),
        (b"bearer   a.b.c ", b"a.b.c"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic a", None),
        (b"BearerX a", None),
    ],
)
def test_the_header(header: bytes | None, token: bytes | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("offer", "rest", "token"),
    [
        (None, None, None),
        (b"a, b", b"a, b", None),
        (b"bearer.x.y.z", None, b"x.y.z"),
        (b"a,bearer.x, b", b"a, b", b"x"),
        (b"bearer.x, bearer.y", None, b"x"),
        (b"bearer.", None, None),
        (b"a, bearer.x y", b"a, bearer.x y", None),
        (b"xbearer.a", b"xbearer.a", None),
        (b"bearer.x" + b"," * 99, b", ".join([b""] * 99), b"x"),
        (b"bearer.x" + b"," * 100, b"bearer.x" + b"," * 100, None),
    ],
)
def test_the_subprotocol(offer: bytes | None, rest: bytes | None, token: bytes | None) -> None:
    assert split_offer(offer) == (rest, token)


@pytest.mark.parametrize(
    ("target", "token"),
    [
        (b"/", None),
        (b"/?token=a", b"a"),
        (b"/?x=1&token=a&token=b", b"a"),
        (b"/?xtoken=a", None),
        (b"/?token", b""),
        (b"/token=a", None),
        (b"/?x&token=a=b", b"a=b"),
        (b"/?token&token=a", b""),
        (b"/?tokens=a&token=", b""),
        (b"/?a=token&token=b?c", b"b?c"),
    ],
)
def test_the_query(target: bytes, token: bytes | None) -> None:
    assert query_value(target, b"token") == token


def test_credentials_show_nothing_in_a_log() -> None:
    assert "secret" not in repr(Credentials(token=b"secret"))


def test_at_a_reload_one_file_that_is_wrong_keeps_nothing_else_back(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """The key of the second file was withdrawn: what it has verified is not remembered."""

    def keys_in(path: Path) -> FileKeys:
        path.write_bytes(public_pem("EdDSA"))
        return FileKeys((path,), lambda texts: KeySet(map(pem_key, texts)))

    async def scenario() -> None:
        broken, other = tmp_path / "a.pem", tmp_path / "b.pem"
        issuers = [
            Issuer(name, frozenset({"mdstream"}), keys_in(path))
            for name, path in (("a", broken), ("b", other))
        ]
        tokens = TokenVerifier(issuers, leeway_s=30, wall_s=lambda: NOW_S, now_s=lambda: 0.0)
        judge = Authenticator(Methods(tokens), Revocations(lambda: 0), now_s=lambda: 0.0)
        ours = {name: Credentials(token=sign({**CLAIMS, "iss": name})) for name in "ab"}
        for each in ours.values():
            await judge.authenticate(each)
        broken.write_bytes(b"nonsense")
        other.write_bytes(public_pem("RS256"))
        with pytest.raises(ConfigError, match=r"a\.pem cannot be used"):
            judge.reload()
        assert judge.cached == 0
        assert (await judge.authenticate(ours["a"])).subject == "alice"
        with pytest.raises(Unauthorized):
            await judge.authenticate(ours["b"])

    run(scenario())
