"""Rows about who may see what, and for how long: users with tokens of their own on a gateway that knows their issuers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from attack import forge
from attack.arena import DEADLINE_S, Arena
from attack.rows import Row
from attack.wire import Attacker, Wire, request
from mdstream.bus import connect, control
from mdstream.codes import CloseCode

Grant = dict[str, Any]
HEARTBEATS = ("heartbeat", 5)
DATA = ("snapshot", "delta", "trades", "ticker")
PROOF = 5
"""Data messages of a subscription that goes on, among which one that ended would have shown."""
_users = itertools.count(1)


def a_user() -> str:
    """Nobody who was here before."""
    return f"user-{next(_users)}"


def token(subject: str, *grants: Grant, algorithm: str = "EdDSA", **claims: Any) -> str:
    return forge.token(algorithm, sub=subject, md={"grants": list(grants)}, **claims)


def open_session(
    arena: Arena, token: str, format: str = "json", where: str = "header", **options: Any
) -> tuple[Attacker, str]:
    """A session with this token, welcomed, and its name."""
    headers: dict[str, str | None] = {"Authorization": f"Bearer {token}"}
    if where == "subprotocol":
        headers = {"Sec_WebSocket_Protocol": f"mdstream.v1.{format}, bearer.{token}"}
    client = Attacker(arena.gateway.port, format, headers=headers, **options)
    return client, client.until("welcome")["session"]


def enter(arena: Arena, token: str, format: str = "json") -> Attacker:
    return open_session(arena, token, format)[0]


def status(arena: Arena, token: str) -> int:
    """Of the answer to an upgrade request with this token."""
    with Wire(arena.gateway.port) as wire:
        wire.send(request(Authorization=f"Bearer {token}"))
        return int(wire.take(12)[9:])


def subscribe(client: Attacker, command: dict[str, Any]) -> int:
    client.say(command)
    found: int = client.until("subscribed")["sub"]
    return found


@dataclass(frozen=True, kw_only=True)
class EntitledRow(Row):
    """A command of a user with these grants, which must be refused as a whole and tell nothing of the rest."""

    grants: tuple[Grant, ...]
    command: dict[str, Any]
    code: str = "not_entitled"
    format: str = "json"
    untold: tuple[str, ...] = ()
    """Words that the answer must not hold."""
    for_s: float = 0.0
    """How long it is asked again: hints come once a second."""

    def play(self, arena: Arena) -> None:
        with enter(arena, token(a_user(), *self.grants), self.format) as client:
            until = time.monotonic() + self.for_s
            while True:
                error = self._ask(client)
                assert error["code"] == self.code, error
                said = str(error["message"])
                assert not [word for word in self.untold if word in said], said
                if time.monotonic() >= until:
                    return
                time.sleep(0.05)

    def _ask(self, client: Attacker) -> dict[str, Any]:
        """The error; anything else that is not of the session itself is one too many."""
        client.say(self.command, {"op": "ping"})
        answers: dict[str, dict[str, Any]] = {}
        while len(answers) < 2:
            message = client.message()
            if message["type"] not in HEARTBEATS:
                assert message["type"] in ("error", "pong"), message
                answers[message["type"]] = message
        return answers["error"]


@dataclass(frozen=True, kw_only=True)
class ChangeRow(Row):
    """``auth`` with a token that no longer allows one of two subscriptions: that one ends at once, the other goes on."""

    before: tuple[Grant, ...]
    after: tuple[Grant, ...]
    lost: dict[str, Any]
    """The subscribe that is no longer allowed."""
    kept: dict[str, Any]
    format: str = "json"

    def play(self, arena: Arena) -> None:
        user = a_user()
        with enter(arena, token(user, *self.before), self.format) as client:
            kept, lost = subscribe(client, self.kept), subscribe(client, self.lost)
            client.say({"op": "auth", "token": token(user, *self.after)})
            ended = client.until("unsubscribed")
            assert (ended["subs"], ended["reason"]) == ([lost], "not_entitled"), ended
            for sub in data_of(client, kept):
                assert sub != lost, "data of the subscription that has ended"
            client.say({"op": "recover", "sub": lost, "from": 0})
            assert client.until("error")["code"] == "unknown_sub"
            client.say(self.lost)
            assert client.until("error", "subscribed").get("code") == "not_entitled"


def data_of(client: Attacker, sub: int) -> list[int]:
    """The subscriptions of all data that comes until this one has had enough of it."""
    subs: list[int] = []
    while subs.count(sub) < PROOF:
        message = client.message()
        data = message.get("data")
        if isinstance(data, list) and data[0] in (1, 2, 3, 4):
            subs.append(data[1])
        elif message["type"] in DATA:
            subs.append(message["sub"])
    return subs


@dataclass(frozen=True, kw_only=True)
class RenewRow(Row):
    """``auth`` with a token that is refused: the session and what it has go on."""

    token: Callable[[str], str]
    """Of the session's subject."""

    def play(self, arena: Arena) -> None:
        user = a_user()
        grant = {"channels": ["*"], "instruments": ["SIM:A"]}
        with enter(arena, token(user, grant)) as client:
            sub = subscribe(client, {"op": "subscribe", "channel": "book", "instruments": ["SIM:A"]})
            client.say({"op": "auth", "id": 7, "token": self.token(user)})
            error = client.until("error", "authenticated")
            assert (error.get("id"), error.get("code")) == (7, "unauthorized"), error
            assert error["message"] == "the token is not valid for this session"
            assert data_of(client, sub)


@dataclass(frozen=True, kw_only=True)
class RevokeRow(Row):
    """A user is in, with a token that the gateway has verified; it is revoked. The session ends, the others go on, and ``reopens`` is
    what the same token opens then."""

    kind: str
    algorithm: str = "EdDSA"
    format: str = "json"
    where: str = "header"
    reopens: int = 401
    fresh: int = 101
    """What a token opens that is issued to the same subject later."""
    reads: bool = True
    """Whether the client reads what it is sent."""

    def play(self, arena: Arena) -> None:
        user, id = a_user(), f"token-{next(_users)}"
        grant = {"channels": ["*"], "instruments": ["SIM:*"]}
        mine = token(user, grant, algorithm=self.algorithm, jti=id)
        client, session = open_session(
            arena, mine, self.format, self.where, receive_buffer=0 if self.reads else 4096
        )
        names = {"subject": user, "token": id, "session": session, "key": forge.key_id(self.algorithm)}
        with client, enter(arena, token(a_user(), grant)) as other:
            self._make_busy(client)
            revoke(arena, self.kind, names[self.kind])
            assert client.closed() in (CloseCode.TOKEN_EXPIRED, *(() if self.reads else (None,)))
            assert status(arena, mine) == self.reopens
            later = token(user, algorithm=self.algorithm, iat=time.time() + 1)
            assert status(arena, later) == self.fresh
            other.say({"op": "ping"})
            other.until("pong")
        revoke(arena, self.kind, names[self.kind], lifted=True)

    def _make_busy(self, client: Attacker) -> None:
        """It has data under way."""
        sub = subscribe(client, {"op": "subscribe", "channel": "book", "instruments": ["SIM:DEEP"]})
        if not self.reads:
            client.say(*[{"op": "recover", "sub": sub, "from": 0}] * 30)


@dataclass(frozen=True, kw_only=True)
class NoRevokeRow(Row):
    """What comes where revocations come from, and is none: nobody's session ends, and the next revocation is obeyed."""

    payload: bytes
    subject: str = "mdctl.revoke.subject.forged"

    def play(self, arena: Arena) -> None:
        grant = {"channels": ["*"], "instruments": ["SIM:*"]}
        victim, next_one = "victim", a_user()
        with enter(arena, token(victim, grant)) as client, enter(arena, token(next_one, grant)) as revoked:
            arena.target.publish(self.subject, self.payload)
            revoke(arena, "subject", next_one)
            assert revoked.closed() == CloseCode.TOKEN_EXPIRED
            client.say({"op": "ping"})
            client.until("pong")


@dataclass(frozen=True, kw_only=True)
class RevokedAuthRow(Row):
    """``auth`` with a token that was revoked, though the gateway has verified it before."""

    kind: str

    def play(self, arena: Arena) -> None:
        user, id = a_user(), f"token-{next(_users)}"
        grant = {"channels": ["*"], "instruments": ["SIM:*"]}
        mine = token(user, grant, algorithm="RS256", jti=id)
        with enter(arena, mine) as first:
            names = {"subject": user, "token": id, "key": forge.key_id("RS256")}
            revoke(arena, self.kind, names[self.kind])
            assert first.closed() == CloseCode.TOKEN_EXPIRED
        with enter(arena, token(user, grant, iat=time.time() + 1)) as client:
            client.say({"op": "auth", "token": mine})
            error = client.until("error", "authenticated")
            assert error.get("code") == "unauthorized", error
            client.say({"op": "ping"})
            client.until("pong")
        revoke(arena, self.kind, names[self.kind], lifted=True)


def revoke(arena: Arena, kind: str, name: str, **more: Any) -> None:
    """As ``mdstream revoke`` does."""

    async def publish() -> None:
        async with await connect(arena.nats.url) as bus:
            await control.ensure(bus)
            await control.revoke(bus, control.Revoke(kind, name, time.time_ns() // 1000, **more))

    asyncio.run(publish())


def wait_until_hinted(arena: Arena, grants: tuple[Grant, ...], name: str, hinted: str) -> None:
    """The other side of a row that must not name an instrument: who may see it is told."""
    until = time.monotonic() + DEADLINE_S
    with enter(arena, token(a_user(), *grants)) as client:
        while True:
            client.say({"op": "subscribe", "channel": "book", "instruments": [name]})
            if hinted in client.until("error")["message"]:
                return
            assert time.monotonic() < until, f"nobody is told of {hinted}"
            time.sleep(0.05)
