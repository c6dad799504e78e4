"""The usual request is answered at once where nothing speaks against it, and as the long way answers it; all others go that way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from mdstream._core.entry.upgrades import UsualUpgrades
from mdstream._core.entry.visitor import Visitor
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import PATH
from mdstream.gateway.limits import Limits
from mdstream.gateway.origin import Origins
from mdstream.gateway.overload import Overload
from mdstream.gateway.upgrades import Upgrades

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
        limits = Limits(GatewayConfig(limits_address_connections=1), lambda: 0.0)
        load = Overload()
        load.refuses = self.refusing
        usual = UsualUpgrades(self, limits, load, self.upgrades.known, ORIGINS, path=PATH, asks=self.asks)
        if not self.room:
            limits.entered(arrived(limits, exempt))
        visitor = arrived(limits, exempt)
        session = Session(visitor, surplus)
        usual.requested(session, head)
        return session


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
