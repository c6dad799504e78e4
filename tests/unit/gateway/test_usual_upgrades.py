"""The usual request is answered at once where nothing speaks against it, and as the long way answers it; all others go that way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from mdstream._core.entry.upgrades import UsualUpgrades, is_passed_on
from mdstream._core.entry.visitor import Visitor
from mdstream.auth.entitlements import ALL
from mdstream.auth.identity import NOBODY, Identity
from mdstream.gateway.addresses import parse_address
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import PATH
from mdstream.gateway.limits import Limits
from mdstream.gateway.origin import Origins
from mdstream.gateway.overload import Overload
from mdstream.gateway.upgrades import Upgrades, token_of

PROXY = bytes((10, 0, 0, 1))
ORIGINS = Origins(["https://app.example.com"])
PROTOCOL = "Sec-WebSocket-Protocol: mdstream.v1.msgpack"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def head(*more: str, path: str = "/v1/stream", key: str = "dGhlIHNhbXBsZSBub25jZQ==") -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *more,
    ]
    return "\r\n".join(lines).encode()


@dataclass
class Session:
    context: Any
    surplus: bool = False
    accepted: list[tuple[bytes, int, int]] = field(default_factory=list)

    def accept(self, response: bytes, format: int, window_bits: int = 0) -> None:
        self.accepted.append((response, format, window_bits))


@dataclass
class Stage:
    """A gateway as far as it is asked."""

    asks: bool = False
    known: dict[bytes, Identity] = field(default_factory=dict)
    config: GatewayConfig = field(default_factory=lambda: GatewayConfig(limits_address_connections=1))
    draining: bool = False
    refusing: str | None = None
    room: bool = True
    left: list[bytes] = field(default_factory=list)
    upgrades: Upgrades = field(
        default_factory=lambda: Upgrades(compression=True, origins=ORIGINS, asks=False)
    )

    def requested(self, session: Session, head: bytes) -> None:
        self.left.append(head)

    def say(self, head: bytes, *, exempt: bool = True, surplus: bool = False) -> Session:
        limits = Limits(self.config, lambda: 0.0)
        if not self.room:
            limits.entered(arrived(limits, exempt))
        visitor = arrived(limits, exempt)
        session = Session(visitor, surplus)
        self.usual(limits).requested(session, head)
        return session

    def usual(self, limits: Limits) -> UsualUpgrades:
        load = Overload()
        load.refuses = self.refusing
        return UsualUpgrades(
            self,
            limits,
            load,
            self.upgrades.known,
            ORIGINS,
            path=PATH,
            asks=self.asks,
            token_of=token_of,
            identity_of=self.known.get,
        )


def arrived(limits: Limits, exempt: bool) -> Visitor:
    visitor = limits.arrive(b"\x7f\x00\x00\x01" if exempt else b"\xcb\x00\x71\x07")
    assert visitor is not None and visitor.is_exempt == exempt
    return visitor


@pytest.mark.parametrize("more", [(), (PROTOCOL,), (PROTOCOL, DEFLATE), ("Origin: https://app.example.com",)])
def test_it_is_answered_as_the_long_way_answers_it(more: tuple[str, ...]) -> None:
    on = Stage()
    verdict, answer = on.upgrades.answer(head(*more), None)
    window_bits = verdict.deflate.window_bits if verdict.deflate else 0  # type: ignore[union-attr]
    for request in (head(*more), head(*more, path="/v1/stream?line=1")):
        assert on.say(request).accepted == [(answer, verdict.format, window_bits)]  # type: ignore[union-attr]
    other = on.say(head(*more, key="AAAAAAAAAAAAAAAAAAAAAA==")).accepted[0][0]
    assert other != answer and len(other) == len(answer)
    assert on.left == []


@pytest.mark.parametrize(
    "request_head",
    [
        head("Sec-WebSocket-Protocol: chat"),
        head("Origin: https://app.example.com.evil.example"),
        head("Origin: null"),
        head(path="/v1/streams"),
        head(path="/v1/strea"),
        head(path="/"),
        head("Host: twice"),
        head("X: é"),
        head(key="short"),
        head("Content-Length: 1"),
        b"GET /v1/stream HTTP/1.0\r\nHost: a",
        b"",
    ],
    ids=repr,
)
def test_what_is_unusual_goes_the_long_way(request_head: bytes) -> None:
    on = Stage()
    on.upgrades.answer(head(), None)
    assert on.say(request_head).accepted == [] and on.left == [request_head]


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        (Stage(asks=True), {}),
        (Stage(draining=True), {}),
        (Stage(refusing="this gateway cannot keep up"), {}),
        (Stage(room=False), {"exempt": False}),
        (Stage(), {"surplus": True}),
    ],
    ids=["credentials", "draining", "overload", "address", "full"],
)
def test_whoever_may_not_simply_come_goes_the_long_way(stage: Stage, how: dict[str, bool]) -> None:
    stage.upgrades.answer(head(), None)
    assert stage.say(head(), **how).accepted == [] and stage.left == [head()]


def test_an_offer_is_judged_once_and_a_client_with_a_share_needs_a_place() -> None:
    on = Stage()
    assert on.say(head(PROTOCOL), exempt=False).accepted == [], "nobody has offered this before"
    on.upgrades.answer(head(PROTOCOL), None)
    assert len(on.say(head(PROTOCOL), exempt=False).accepted) == 1


ALICE = Identity("alice", "jwt", ALL)
BEARER = "Authorization: Bearer a.b.c"


@pytest.mark.parametrize(
    "more", [(PROTOCOL, BEARER), (f"{PROTOCOL}, bearer.a.b.c",), (f"{PROTOCOL}, bearer.other", BEARER)]
)
def test_a_token_that_is_known_lets_in(more: tuple[str, ...]) -> None:
    on = Stage(asks=True, known={b"a.b.c": ALICE})
    on.upgrades.answer(head(PROTOCOL), None)
    session = on.say(head(*more), exempt=False)
    assert len(session.accepted) == 1 and session.context.identity is ALICE
    assert on.left == []


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ((PROTOCOL,), "/v1/stream"),
        ((PROTOCOL, "Authorization: Bearer x.y.z"), "/v1/stream"),
        ((PROTOCOL, "Authorization: Basic a.b.c"), "/v1/stream"),
        ((PROTOCOL, BEARER), "/v1/stream?token=x.y.z"),
        ((PROTOCOL, BEARER), "/v1/stream?line=2"),
        ((PROTOCOL, BEARER, BEARER), "/v1/stream"),
        ((f"{PROTOCOL}, bearer.x.y.z",), "/v1/stream"),
    ],
)
def test_any_other_client_is_judged_the_long_way(more: tuple[str, ...], path: str) -> None:
    on = Stage(asks=True, known={b"a.b.c": ALICE})
    on.upgrades.answer(head(PROTOCOL), None)
    session = on.say(head(*more, path=path), exempt=False)
    assert session.accepted == [] and len(on.left) == 1
    assert session.context.identity is NOBODY


def test_a_user_with_too_many_connections_goes_the_long_way_as_nobody() -> None:
    on = Stage(asks=True, known={b"a.b.c": ALICE}, config=GatewayConfig(limits_user_connections=1))
    on.upgrades.answer(head(PROTOCOL), None)
    limits = Limits(on.config, lambda: 0.0)
    usual = on.usual(limits)
    taken = [Session(arrived(limits, False)) for _ in range(2)]
    for session in taken:
        usual.requested(session, head(PROTOCOL, BEARER))
        if session.accepted:
            limits.entered(session.context)
    assert [len(session.accepted) for session in taken] == [1, 0] and len(on.left) == 1
    assert taken[1].context.identity is NOBODY


BEHIND = GatewayConfig(proxies_trusted=("10.0.0.0/8",), limits_address_handshakes=1)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
        (["X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (["X-Forwarded-For: 127.0.0.1"], "127.0.0.1"),
        (["X-Forwarded-For: nonsense"], None),
        (["X-Forwarded-For: " + "1.1.1.1," * 100], None),
        (["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 203.0.113.7"], None),
        (["Forwarded: for=203.0.113.7"], None),
        ([], None),
    ],
    ids=repr,
)
def test_a_trusted_proxy_says_whom_it_brings(lines: list[str], address: str | None) -> None:
    on = Stage(config=BEHIND)
    on.upgrades.answer(head(), None)
    limits = Limits(BEHIND, lambda: 0.0)
    visitor = limits.arrive(PROXY)
    assert visitor is not None and visitor.place is None
    session = Session(visitor)
    on.usual(limits).requested(session, head(*lines))
    assert len(session.accepted) == (address is not None) == 1 - len(on.left)
    assert visitor.address == (PROXY if address is None else parse_address(address))
    assert (visitor.place is not None) == (address is not None and not visitor.is_exempt)


def test_an_address_that_is_half_open_too_often_goes_the_long_way() -> None:
    on = Stage(config=BEHIND)
    on.upgrades.answer(head(), None)
    limits = Limits(BEHIND, lambda: 0.0)
    usual = on.usual(limits)
    visitors = [limits.arrive(PROXY) for _ in range(2)]
    for visitor in visitors:
        usual.requested(Session(visitor), head("X-Forwarded-For: 203.0.113.7"))
    assert len(on.left) == 1 and visitors[1] is not None and visitors[1].place is None
    assert limits.requested(visitors[1], on.left[0]) is not None


def asking(name: bytes) -> bytes:
    return head().replace(b"localhost", name)


@pytest.mark.parametrize(
    ("request_head", "is_noticed"),
    [
        (head("X-Forwarded-For: 198.51.100.1"), True),
        (head("Forwarded: for=198.51.100.1"), True),
        (asking(b"md.example.com"), True),
        (asking(b"203.0.113.9"), True),
        (head(), False),
        (asking(b"localhost:8080"), False),
        (asking(b"127.0.0.1:8080"), False),
        (asking(b"[::1]:8080"), False),
    ],
)
def test_a_client_without_limits_whom_a_proxy_passed_on_is_noticed(
    request_head: bytes, is_noticed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    on = Stage()
    on.upgrades.answer(head(), None)
    limits = Limits(on.config, lambda: 0.0)
    for _ in range(2):
        session = Session(arrived(limits, True))
        on.usual(limits).requested(session, request_head)
        assert len(session.accepted) == 1
    assert limits.passed_on_total == 2 * is_noticed
    assert len(caplog.messages) == is_noticed and ("proxies_trusted" in caplog.text) is is_noticed
    assert is_passed_on(arrived(limits, True).peer, request_head) is is_noticed


def test_one_who_has_limits_may_say_that_he_is_a_proxy_and_nobody_listens() -> None:
    on = Stage()
    on.upgrades.answer(head(), None)
    limits = Limits(on.config, lambda: 0.0)
    session = Session(arrived(limits, False))
    on.usual(limits).requested(session, head("X-Forwarded-For: 127.0.0.1"))
    assert len(session.accepted) == 1 and limits.passed_on_total == 0


def test_a_trusted_proxy_may_bring_a_client_of_this_machine(caplog: pytest.LogCaptureFixture) -> None:
    on = Stage(config=GatewayConfig(proxies_trusted=("127.0.0.1/32",)))
    on.upgrades.answer(head(), None)
    limits = Limits(on.config, lambda: 0.0)
    visitor = limits.arrive(b"\x7f\x00\x00\x01")
    session = Session(visitor)
    on.usual(limits).requested(session, head("X-Forwarded-For: 127.0.0.1"))
    assert len(session.accepted) == 1 and limits.passed_on_total == 0 and not caplog.messages
