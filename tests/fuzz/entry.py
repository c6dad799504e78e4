"""The way in, as a fuzz target: compiled code that lets clients in and counts them, beside the long way and a count in Python.

``answer_entry``: whom the quick way lets in, the long way lets in too, as the same user from the same address with the same answer.
``count_clients``: whatever clients do in whatever order, what is counted is what is there, and in the end nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from doubles.fuzz_targets import check_counts

from mdstream._core.entry.load_state import LoadState
from mdstream._core.entry.upgrades import UsualUpgrades
from mdstream._core.entry.visitor import Visitor
from mdstream._core.websocket import upgrade_request
from mdstream.auth.credentials import Credentials
from mdstream.auth.entitlements import ALL
from mdstream.auth.identity import NOBODY, Identity
from mdstream.gateway.budget import Cost
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.handshake import PATH, Accepted
from mdstream.gateway.limits import Limits
from mdstream.gateway.offers import Offer
from mdstream.gateway.origin import Origins
from mdstream.gateway.upgrades import Upgrades, token_of

STRANGER, PROXY, EXEMPT = b"\xcb\x00\x71\x07", b"\x0a\x00\x00\x01", b"\x7f\x00\x00\x01"
PEERS = (STRANGER, PROXY, EXEMPT, b" \x01\r\xb8" + bytes(12))
HEADERS = ("x-forwarded-for", "forwarded", "proxy-v2")
ORIGINS = Origins(["https://*.example.com"])
ALICE = Identity("alice", "jwt", ALL)
FEW = 4
"""Shares that are kept."""
MOST_HOPELESS = 10_000


def _identity_of(token: bytes) -> Identity | None:
    """Half of all tokens are Alice's."""
    return ALICE if len(token) % 2 else None


@dataclass
class _Session:
    context: Any
    surplus: bool = False
    answers: list[bytes] = field(default_factory=list)

    def accept(self, answer: bytes, format: int, window_bits: int = 0) -> None:
        self.answers.append(answer)


class _LongWay:
    """A server to which the quick way leaves requests. Of each offer that is new it finds out once, as that takes long, whether it is good:
    then the quick way is asked again."""

    draining = False

    def __init__(self, upgrades: Upgrades) -> None:
        self.upgrades = upgrades
        self.usual: UsualUpgrades
        self._hopeless: set[Offer] = set()

    def requested(self, session: _Session, head: bytes) -> None:
        usual = upgrade_request.read(head)
        if usual is None:
            return
        offer = token_of(usual[1], usual[3])[0], usual[2]
        if offer in self.upgrades.known or offer in self._hopeless:
            return
        self.upgrades.answer(head, None)
        if offer in self.upgrades.known:
            self.usual.requested(session, head)
            return
        if len(self._hopeless) >= MOST_HOPELESS:
            self._hopeless.clear()
        self._hopeless.add(offer)


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


class _Way:
    """Both ways in, of gateways with the same configuration. Each client is gone before the next one comes."""

    def __init__(self, config: GatewayConfig, asks: bool) -> None:
        self.asks = asks
        self.limits, self.other_limits = (Limits(config, lambda: 0.0, most=FEW) for _ in range(2))
        self.upgrades = Upgrades(compression=True, origins=ORIGINS)
        long_way = _LongWay(self.upgrades)
        self.usual = long_way.usual = UsualUpgrades(
            long_way,
            self.limits,
            LoadState(),
            self.upgrades.known,
            ORIGINS,
            path=PATH,
            asks=asks,
            token_of=token_of,
            identity_of=_identity_of,
        )

    def answer(self, peer: bytes, head: bytes) -> None:
        visitor = self.limits.arrive(peer)
        session = _Session(visitor)
        self.usual.requested(session, head)
        if session.answers:
            self._compare(session, peer, head)
        _give_back(self.limits, visitor)

    def _compare(self, session: _Session, peer: bytes, head: bytes) -> None:
        quick: Visitor = session.context
        slow = self.other_limits.arrive(peer)
        assert slow is not None
        why = None if slow.is_exempt else self.other_limits.requested(slow, head)
        assert why is None, f"the long way refuses: {why}"
        verdict, answer = self.upgrades.answer(head, None)
        assert isinstance(verdict, Accepted), verdict
        assert session.answers == [answer]
        assert (quick.address, quick.is_exempt) == (slow.address, slow.is_exempt)
        credentials: Credentials = verdict.credentials
        assert quick.identity is (_identity_of(credentials.token or b"") if self.asks else NOBODY)
        for limits, visitor in ((self.limits, quick), (self.other_limits, slow)):
            limits.entered(visitor)
            check_counts(limits.addresses, limits.users, [visitor])
        _give_back(self.other_limits, slow)


def _give_back(limits: Limits, visitor: Visitor) -> None:
    limits.answered(visitor)
    limits.left(visitor)
    check_counts(limits.addresses, limits.users, [])


@cache
def _ways() -> tuple[_Way, ...]:
    return tuple(_Way(config, asks) for config in _configs() for asks in (False, True))


NAMED = 64
"""A bit of the first byte: the rest is values of the headers of a request that is right, so that much of what is changed comes in."""
NAMES = (
    b"Sec-WebSocket-Protocol", b"Authorization", b"Origin", b"X-Forwarded-For", b"Forwarded", b"Sec-WebSocket-Extensions", b"X",
)  # fmt: skip
USUAL = (
    b"GET /v1/stream HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nHost: "
)
ALLOWED = bytes(byte if byte in b"\t\n" or 32 <= byte < 127 else 33 + byte % 94 for byte in range(256))
"""What stands for each byte in those values: whatever is not allowed there would keep a request out by itself."""


def entry_seeds() -> Iterator[bytes]:
    from attack.wire import request

    protocol = (0, b"mdstream.v1.json, bearer.a.b.c")
    bearer = (1, b"Bearer a.b.c")
    deflate = (5, b"permessage-deflate; client_max_window_bits")
    for first, *headers in (
        (0,),
        (4, protocol),
        (4, bearer),
        (4, (0, b"mdstream.v1.msgpack"), bearer),
        (1, (3, b"192.0.2.1, 203.0.113.7")),
        (9, (4, b'for="[2001:db8::1]:80", for=10.0.0.2')),
        (5, protocol, (2, b"https://app.example.com"), (3, b"127.0.0.1")),
        (2, deflate),
        (2, (2, b"https://app.example.com"), (3, b"192.0.2.1"), (6, b"x")),
    ):
        yield b"\n".join(
            [bytes([first | NAMED]) + b"localhost", *(bytes([name]) + value for name, value in headers)]
        )
        lines = (NAMES[name] + b": " + value for name, value in headers)
        yield b"\r\n".join([bytes([first]) + request().removesuffix(b"\r\n\r\n"), *lines])


def answer_entry(data: bytes) -> None:
    """The first byte: from where, whether clients are asked who they are, what the proxy writes, what the others are."""
    if data:
        first = data[0]
        way = _ways()[2 * ((first >> 3) % 8 % len(HEADERS)) + bool(first & 4)]
        way.answer(PEERS[first & 3], _named(data[1:]) if first & NAMED else data[1:])


def _named(values: bytes) -> bytes:
    """The value of Host, then a line for each other header: the number of its name, and its value. Of several with one name, the last."""
    host, *others = values.split(b"\n")
    fields = {NAMES[line[0] % len(NAMES)]: line[1:].translate(ALLOWED) for line in others if line}
    return b"\r\n".join([USUAL + host.translate(ALLOWED), *map(b": ".join, fields.items())])


# ---- counting


def count_seeds() -> Iterator[bytes]:
    yield bytes(range(64))
    yield bytes((0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0)) * 3
    yield bytes((8, 1, 0, 1, 2, 1, 3, 1, 4, 1, 9, 1)) * 4


class _Counted:
    """A gateway's limits by a clock that is set."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.config = _configs()[0]
        self.limits = Limits(self.config, lambda: self.now_s, most=FEW)

    def use(self, config: GatewayConfig) -> None:
        if config is not self.config:
            self.config = config
            self.limits.use(config)


@cache
def _counted() -> _Counted:
    return _Counted()


def count_clients(data: bytes) -> None:
    """Pairs of bytes: what happens, and to whom."""
    counted = _counted()
    limits = counted.limits
    visitors: list[Visitor] = []
    for what, who in zip(data[::2], data[1::2], strict=False):
        _happen(what % 9, who, counted, visitors)
        check_counts(limits.addresses, limits.users, visitors)
    for visitor in list(visitors):
        _leave(limits, visitors, visitor)
    check_counts(limits.addresses, limits.users, visitors)
    counted.now_s += 1e6
    limits.sweep()
    assert len(limits.addresses) == len(limits.users) == 0
    counted.use(_configs()[0])


def _happen(what: int, who: int, counted: _Counted, visitors: list[Visitor]) -> None:
    limits = counted.limits
    visitor = visitors[who % len(visitors)] if visitors else None
    if what <= 1:
        peer = PEERS[who & 3] if what else b"\xc6\x33\x64" + bytes([who & 7])
        arrived = limits.arrive(peer)
        if arrived is not None:
            visitors.append(arrived)
    elif what == 2:
        counted.now_s += who
        limits.sweep()
    elif what == 3 and who < 8:
        counted.use(_configs()[who % len(HEADERS)])
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
