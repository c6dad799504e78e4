"""The way in, as a fuzz target: compiled code that lets clients in and counts them, beside the long way and a count in Python.

``answer_entry``: whom the quick way lets in, the long way lets in too, as the same user from the same address with the same answer.
``count_clients``: whatever clients do in whatever order, what is counted is what is there, and in the end nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mdstream._core.entry.load_state import LoadState
from mdstream._core.entry.upgrades import UsualUpgrades
from mdstream._core.entry.visitor import Visitor
from mdstream.auth.credentials import Credentials
from mdstream.auth.entitlements import ALL
from mdstream.auth.identity import NOBODY, Identity
from mdstream.gateway.budget import Cost
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import PATH, Accepted
from mdstream.gateway.limits import Kind, Limits
from mdstream.gateway.origin import Origins
from mdstream.gateway.upgrades import Upgrades, token_of

STRANGER, PROXY, EXEMPT = b"\xcb\x00\x71\x07", b"\x0a\x00\x00\x01", b"\x7f\x00\x00\x01"
PEERS = (STRANGER, PROXY, EXEMPT, b" \x01\r\xb8" + bytes(12))
HEADERS = ("x-forwarded-for", "forwarded", "proxy-v2")
ORIGINS = Origins(["https://app.example.com"])
ALICE = Identity("alice", "jwt", ALL)
TOKENS = {b"a.b.c": ALICE}


@dataclass
class _Session:
    context: Any
    surplus: bool = False
    answers: list[bytes] = field(default_factory=list)

    def accept(self, answer: bytes, format: int, window_bits: int = 0) -> None:
        self.answers.append(answer)


class _LongWay:
    """A server that is told what the quick way leaves to it."""

    draining = False

    def requested(self, session: _Session, head: bytes) -> None:
        """Nothing: the target looks at those that came in."""


def _config(header: str) -> GatewayConfig:
    return GatewayConfig(
        proxies_trusted=("10.0.0.0/8",),
        proxies_protocol=header,
        limits_exempt=("127.0.0.0/8",),
        limits_address_connections=2,
        limits_address_handshakes=3,
        limits_user_connections=2,
        limits_address_subscriptions=20,
        limits_user_subscriptions=10,
    )


@cache
def _configs() -> tuple[GatewayConfig, ...]:
    return tuple(map(_config, HEADERS))


@cache
def _upgrades() -> Upgrades:
    return Upgrades(compression=True, origins=ORIGINS)


def entry_seeds() -> Iterator[bytes]:
    from attack.wire import request

    protocol: dict[str, str | None] = {"Sec_WebSocket_Protocol": "mdstream.v1.json, bearer.a.b.c"}
    for first, headers in (
        (0, {}),
        (4, protocol),
        (4, {"Authorization": "Bearer a.b.c"}),
        (1, {"X_Forwarded_For": "192.0.2.1, 203.0.113.7"}),
        (9, {"Forwarded": 'for="[2001:db8::1]:80", for=10.0.0.2'}),
        (5, protocol | {"Origin": "https://app.example.com", "X_Forwarded_For": "127.0.0.1"}),
        (2, {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}),
    ):
        head = request(**{name.replace("_", "-"): value for name, value in headers.items()})
        yield bytes([first]) + head.removesuffix(b"\r\n\r\n")


def answer_entry(data: bytes) -> None:
    """The first byte: from where, whether clients are asked who they are, what the proxy writes."""
    if not data:
        return
    first, head = data[0], data[1:]
    peer, asks, config = PEERS[first & 3], bool(first & 4), _configs()[(first >> 3) % len(HEADERS)]
    _upgrades().answer(head, None)  # who has offered it before is not asked here
    limits = Limits(config, lambda: 0.0)
    session = _Session(limits.arrive(peer))
    usual = UsualUpgrades(
        _LongWay(),
        limits,
        LoadState(),
        _upgrades().known,
        ORIGINS,
        path=PATH,
        asks=asks,
        token_of=token_of,
        identity_of=TOKENS.get,
    )
    usual.requested(session, head)
    if session.answers:
        _compare(session, head, Limits(config, lambda: 0.0), peer, asks)


def _compare(session: _Session, head: bytes, limits: Limits, peer: bytes, asks: bool) -> None:
    quick: Visitor = session.context
    slow = limits.arrive(peer)
    assert slow is not None
    why = None if slow.is_exempt else limits.requested(slow, head)
    assert why is None, f"the long way refuses: {why}"
    verdict, answer = _upgrades().answer(head, None)
    assert isinstance(verdict, Accepted), verdict
    assert session.answers == [answer]
    assert (quick.address, quick.is_exempt) == (slow.address, slow.is_exempt)
    credentials: Credentials = verdict.credentials
    assert quick.identity is (TOKENS.get(credentials.token or b"") if asks else NOBODY)


# ---- counting


class _Model:
    """What must be counted, by site and by user."""

    def __init__(self) -> None:
        self.visitors: list[Visitor] = []

    def check(self, limits: Limits) -> None:
        found: dict[str, Counter[tuple[Any, str]]] = {"address": Counter(), "user": Counter()}
        for each in self.visitors:
            for scope, share in (("address", each.place), ("user", each.user)):
                if share is not None:
                    found[scope][share.key, "connections"] += each.is_in
                    found[scope][share.key, "subscriptions"] += each.subscriptions
                    found[scope][share.key, "handshakes"] += each.is_half_open and scope == "address"
        for shares in (limits.addresses, limits.users):
            for key, share in shares._shares.items():
                for what in (Kind.CONNECTIONS, Kind.SUBSCRIPTIONS, Kind.HANDSHAKES):
                    have, must = getattr(share, what.value), found[shares.scope][key, what.value]
                    assert have == must, f"{what} of {key!r}: {have}, not {must}"
                assert share.is_unused == (key in shares._unused_since), key


def count_seeds() -> Iterator[bytes]:
    yield bytes(range(64))
    yield bytes((0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0)) * 3
    yield bytes((8, 1, 0, 1, 2, 1, 3, 1, 4, 1, 9, 1)) * 4


def count_clients(data: bytes) -> None:
    """Pairs of bytes: what happens, and to whom."""
    clock = [0.0]
    limits = Limits(_configs()[0], lambda: clock[0], most=4)
    model = _Model()
    for what, who in zip(data[::2], data[1::2], strict=False):
        _happen(what % 9, who, limits, model.visitors, clock)
        model.check(limits)
    for visitor in list(model.visitors):
        _leave(limits, model.visitors, visitor)
    model.check(limits)
    clock[0] += 1e6
    limits.sweep()
    assert len(limits.addresses) == len(limits.users) == 0


def _happen(what: int, who: int, limits: Limits, visitors: list[Visitor], clock: list[float]) -> None:
    visitor = visitors[who % len(visitors)] if visitors else None
    if what <= 1:
        peer = PEERS[who & 3] if what else b"\xc6\x33\x64" + bytes([who & 7])
        arrived = limits.arrive(peer)
        if arrived is not None:
            visitors.append(arrived)
    elif what == 2:
        clock[0] += who
        limits.sweep()
    elif what == 3 and who < 8:
        limits.use(_configs()[who % len(HEADERS)])
    elif visitor is None:
        return
    elif what == 4:
        _ask_in(limits, visitors, visitor, who)
    elif what == 5:
        limits.answered(visitor)
    elif what == 6:
        limits.subscribed(visitor, who % 16)
    elif what == 7:
        limits.charge_request(visitor, Cost.COMMANDS, who)
    else:
        _leave(limits, visitors, visitor)


def _ask_in(limits: Limits, visitors: list[Visitor], visitor: Visitor, who: int) -> None:
    if visitor.is_in or not (visitor.is_half_open or visitor.is_exempt or limits.is_hidden(visitor)):
        return
    visitor.identity = Identity(f"u{who & 3}", "jwt", ALL) if who & 16 else NOBODY
    head = b"GET / HTTP/1.1\r\nX-Forwarded-For: 198.51.100.%d" % (who & 7)
    if not visitor.is_exempt and limits.requested(visitor, head) is not None:
        _leave(limits, visitors, visitor)
    elif not visitor.is_exempt or who & 32:
        limits.entered(visitor)


def _leave(limits: Limits, visitors: list[Visitor], visitor: Visitor) -> None:
    limits.left(visitor)
    limits.answered(visitor)
    visitors.remove(visitor)
