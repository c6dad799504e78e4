"""Keys from a URL, by a fetch that does as the test says and a clock that does too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from mdstream.auth import reasons
from mdstream.auth.authenticator import Authenticator, CacheOptions, Methods
from mdstream.auth.credentials import Credentials
from mdstream.auth.fetch import Answer, FetchError
from mdstream.auth.jwks import LEAST_PAUSE_S, JwksKeys, JwksTimes
from mdstream.auth.revocations import Revocations
from mdstream.auth.tokens import Issuer, TokenVerifier
from mdstream.errors import CannotJudge, Unauthorized
from support.tokens import CLAIMS, NOW_S, jwk, sign

KEEP_S = 3_600.0


class Issuing:
    """An issuer's URL, what it answers now, and everything that asks it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.answer: Answer | Exception = FetchError("connection refused")
        self.asked = 0
        self.gate: asyncio.Event | None = None
        times = JwksTimes(refresh_s=600, keep_s=KEEP_S)
        self.source = JwksKeys("https://issuer/keys", times, now_s=lambda: self.now_s, get=self._get)
        issuer = Issuer(None, frozenset({"mdstream"}), self.source)
        tokens = TokenVerifier([issuer], leeway_s=0, wall_s=lambda: NOW_S, now_s=lambda: self.now_s)
        self.authenticator = Authenticator(
            Methods(tokens), Revocations(lambda: 0), CacheOptions(token_s=60), now_s=lambda: self.now_s
        )

    def publish(self, *keys: Any) -> None:
        self.answer = Answer(200, json.dumps({"keys": keys}).encode())

    async def _get(self, url: str) -> Answer:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def judge(self, token: bytes) -> str:
        return (await self.authenticator.authenticate(Credentials(token=token))).subject


@pytest.fixture
def issuing() -> Issuing:
    return Issuing()


def test_keys_are_fetched_when_the_first_token_wants_them(run: Callable[..., Any], issuing: Issuing) -> None:
    async def scenario() -> None:
        issuing.publish(jwk("EdDSA", "a"))
        with pytest.raises(CannotJudge):
            issuing.source.keys  # noqa: B018 - reading it is what raises
        await issuing.source.update()
        assert await issuing.judge(sign(CLAIMS, kid="a")) == "alice"
        assert (issuing.asked, issuing.source.age_s) == (1, 0)

    run(scenario())


def test_a_rotated_key_is_fetched_once_for_all_who_want_it(run: Callable[..., Any], issuing: Issuing) -> None:
    async def scenario() -> None:
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        issuing.now_s += LEAST_PAUSE_S
        issuing.publish(jwk("RS256", "b"))
        issuing.gate = asyncio.Event()
        token = sign(CLAIMS, "RS256", kid="b")
        waiting = [asyncio.ensure_future(issuing.judge(token)) for _ in range(20)]
        await asyncio.sleep(0)
        issuing.gate.set()
        assert await asyncio.gather(*waiting) == ["alice"] * 20
        assert issuing.asked == 2

    run(scenario())


def test_a_flood_of_unknown_kids_asks_once_in_ten_seconds(run: Callable[..., Any], issuing: Issuing) -> None:
    async def scenario() -> None:
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        issuing.now_s += LEAST_PAUSE_S
        for i in range(100):
            with pytest.raises(Unauthorized) as refused:
                await issuing.judge(sign(CLAIMS, kid=f"k{i}"))
            assert refused.value.why == reasons.UNKNOWN_KEY
        assert issuing.asked == 2
        issuing.now_s += LEAST_PAUSE_S
        with pytest.raises(Unauthorized):
            await issuing.judge(sign(CLAIMS, kid="k"))
        assert issuing.asked == 3

    run(scenario())


@pytest.mark.parametrize(
    "trouble",
    [
        FetchError("no answer within 5 s"),
        Answer(500, b""),
        Answer(200, b"<html>"),
        Answer(200, b'{"keys": []}'),
        Answer(200, b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'),
    ],
)
def test_the_last_good_keys_are_used_through_an_outage_for_a_time(
    run: Callable[..., Any], issuing: Issuing, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        issuing.answer = trouble
        for _ in range(3):
            issuing.now_s += LEAST_PAUSE_S
            with pytest.raises(CannotJudge):
                await issuing.source.update()
        assert await issuing.judge(sign(CLAIMS, kid="a")) == "alice"
        with pytest.raises(CannotJudge):  # it may be a new key: nobody can tell now
            await issuing.judge(sign(CLAIMS, kid="new"))
        issuing.now_s = 100.0 + KEEP_S + 1
        with pytest.raises(CannotJudge):
            await issuing.judge(sign({**CLAIMS, "jti": "2"}, kid="a"))
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        assert await issuing.judge(sign({**CLAIMS, "jti": "2"}, kid="a")) == "alice"

    run(scenario())
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_it_refreshes_by_itself(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        slept: list[float] = []
        enough = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            now_s[0] += seconds
            if len(slept) == 5:
                enough.set()
                await asyncio.Event().wait()

        async def get(url: str) -> Answer:
            if len(slept) == 2:
                raise FetchError("away")
            return Answer(200, json.dumps({"keys": [jwk("EdDSA")]}).encode())

        now_s = [0.0]
        source = JwksKeys("https://x/", JwksTimes(600, 3600), now_s=lambda: now_s[0], get=get, sleep=sleep)
        source.start()
        await enough.wait()
        await source.stop()
        assert all(540 <= each <= 600 for i, each in enumerate(slept) if i != 2)
        assert LEAST_PAUSE_S <= slept[2] <= 1.1 * LEAST_PAUSE_S
        assert (source.fetches_total, source.failures_total) == (5, 1)

    run(scenario())


def test_tokens_of_a_key_that_was_withdrawn_end_with_it(run: Callable[..., Any], issuing: Issuing) -> None:
    async def scenario() -> None:
        old, new = jwk("EdDSA", "a"), jwk("RS256", "b")
        token = sign(CLAIMS, kid="a")
        issuing.publish(old)
        await issuing.source.update()
        assert await issuing.judge(token) == "alice"
        issuing.now_s += LEAST_PAUSE_S
        issuing.publish(old, new)
        await issuing.source.update()
        assert issuing.authenticator.cached == 1, "a key that is added withdraws none"
        issuing.now_s += LEAST_PAUSE_S
        issuing.publish(new)
        await issuing.source.update()
        assert issuing.authenticator.known(Credentials(token=token)) is None
        with pytest.raises(Unauthorized) as refused:
            await issuing.judge(token)
        assert refused.value.why == reasons.UNKNOWN_KEY

    run(scenario())


def test_another_key_under_the_same_name_withdraws_the_old_one(
    run: Callable[..., Any], issuing: Issuing
) -> None:
    async def scenario() -> None:
        token = sign(CLAIMS, kid="a")
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        assert await issuing.judge(token) == "alice"
        issuing.now_s += LEAST_PAUSE_S
        issuing.publish(jwk("ES256", "a"))
        await issuing.source.update()
        with pytest.raises(Unauthorized):
            await issuing.judge(token)

    run(scenario())


def test_what_was_judged_before_the_withdrawal_is_not_remembered_after_it(
    run: Callable[..., Any], issuing: Issuing
) -> None:
    async def scenario() -> None:
        token = sign(CLAIMS, kid="a")
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        judging = asyncio.ensure_future(issuing.judge(token))
        while issuing.authenticator.verified_total == 0:
            await asyncio.sleep(0)
        issuing.authenticator.forget()
        assert await judging == "alice"
        assert issuing.authenticator.cached == 0

    run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"keys":' * 10_000,
        b'{"keys":[' + b"[" * 1_000 + b"]" * 1_000 + b"]}",
        b'{"keys":[{"kty":"RSA","e":"AQAB","n":' + b"9" * 100_000 + b"}]}",
        b"\xff\xfe{",
        b"null",
        b'{"keys":{}}',
        b'{"keys":' + json.dumps([{"kty": "RSA"}] * 101).encode() + b"}",
    ],
    ids=range(8),
)
def test_a_hostile_set_changes_nothing(run: Callable[..., Any], issuing: Issuing, body: bytes) -> None:
    async def scenario() -> None:
        issuing.publish(jwk("EdDSA", "a"))
        await issuing.source.update()
        issuing.now_s += LEAST_PAUSE_S
        issuing.answer = Answer(200, body)
        with pytest.raises(CannotJudge):
            await issuing.source.update()
        assert await issuing.judge(sign(CLAIMS, kid="a")) == "alice"
        assert issuing.source.failures_total == 1

    run(scenario())


_GOOD = jwk("EdDSA", "a")
HOSTILE_KEYS: list[Any] = [
    None,
    [],
    "a",
    {},
    {**_GOOD, "kid": "other", "kty": ["OKP"]},
    {**_GOOD, "kid": "other", "kty": {}},
    {**_GOOD, "kid": "other", "x": 7},
    {**_GOOD, "kid": "other", "x": None},
    {**_GOOD, "kid": "other", "x": "ä"},
    {**_GOOD, "kid": "other", "x": "A" * 100_000},
    {**_GOOD, "kid": "other", "crv": ["Ed25519"]},
    {**_GOOD, "kid": "other", "crv": "Ed448"},
    {**_GOOD, "kid": "other", "crv": "X25519"},
    {**_GOOD, "kid": "other", "alg": ["EdDSA"]},
    {**_GOOD, "kid": "other", "alg": {}},
    {**_GOOD, "kid": "other", "alg": "HS256"},
    {**_GOOD, "kid": "other", "use": ["sig"]},
    {**_GOOD, "kid": "other", "key_ops": {"verify": 1}},
    {"kty": "oct", "k": "A" * 64, "kid": "other"},
    {"kty": "RSA", "kid": "other", "e": "AQAB", "n": "AQ"},
    {"kty": "RSA", "kid": "other", "e": 65_537, "n": "A" * 344},
    {"kty": "RSA", "kid": "other", "e": "A" * 344, "n": "A" * 344},
    {"kty": "RSA", "kid": "other", "e": "AQAB", "n": "_" * 100_000},
    {"kty": "EC", "kid": "other", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
    {"kty": "EC", "kid": "other", "crv": "P-256", "x": [], "y": {}},
    {"kty": "EC", "kid": "other", "crv": "secp256k1", "x": "A" * 43, "y": "A" * 43},
    {"kty": "EC", "kid": "other", "crv": "P-521", "x": "A" * 88, "y": "A" * 88},
]


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=range(len(HOSTILE_KEYS)))
def test_a_key_that_is_none_is_left_out_and_the_others_count(
    run: Callable[..., Any], issuing: Issuing, key: Any
) -> None:
    async def scenario() -> None:
        for keys in ([key, _GOOD], [_GOOD, key]):
            issuing.publish(*keys)
            await issuing.source.update()
            assert await issuing.judge(sign(CLAIMS, kid="a")) == "alice"
            assert [each.id for each in issuing.source.keys.keys if each.id == "other"] == []
            issuing.now_s += LEAST_PAUSE_S

    run(scenario())


def test_of_two_keys_with_one_kid_the_first_counts(run: Callable[..., Any], issuing: Issuing) -> None:
    async def scenario() -> None:
        issuing.publish(jwk("EdDSA", "a"), jwk("RS256", "a"))
        await issuing.source.update()
        assert await issuing.judge(sign(CLAIMS, kid="a")) == "alice"
        with pytest.raises(Unauthorized):
            await issuing.judge(sign(CLAIMS, "RS256", kid="a"))

    run(scenario())
