"""A client core without a socket, with a clock set by the test, and a gateway that fails in ways a real one does not."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from mdstream.client.actions import DialNow, HangUp, Send
from mdstream.client.core import ClientCore
from mdstream.client.policy import Policy
from mdstream.client.protocol_factory import make_codec
from mdstream.client.states import ConnectionState, Stats

HEARTBEAT_MS = 15_000
Levels = list[tuple[int, int]]


def flat(levels: Levels) -> list[int]:
    return [number for level in levels for number in level]


def crc_of(bids: Levels, asks: Levels) -> int:
    """A second implementation of the contract's checksum."""
    numbers: list[int] = []
    for i in range(10):
        numbers += bids[i] if i < len(bids) else ()
        numbers += asks[i] if i < len(asks) else ()
    return zlib.crc32(":".join(map(str, numbers)).encode())


def subscribed(command: dict[str, Any], sub: int, **more: Any) -> dict[str, Any]:
    """The answer to a ``subscribe`` for one instrument."""
    return {
        "type": "subscribed",
        "id": command["id"],
        "sub": sub,
        "channel": command["channel"],
        "instrument": command["instruments"][0],
        "price_exp": 0,
        "size_exp": 0,
        "resumed": False,
        **more,
    }


class Desk:
    """Drives a ClientCore: ``say`` sends the gateway's messages, ``sent`` has the client's commands, ``now`` is the clock."""

    def __init__(
        self, *, random: Callable[[], float] = lambda: 1.0, policy: Policy | None = None, **options: Any
    ) -> None:
        self.now = 100.0
        self.wall_us = 1_000_000
        self.core = ClientCore(lambda: make_codec("msgpack"), random=random, policy=policy, **options)
        self.sent: list[dict[str, Any]] = []
        self.dials = 0
        self.hang_ups: list[HangUp] = []
        self.states: list[ConnectionState] = []
        self.core.on_state(self.states.append)

    def act(self) -> None:
        for action in self.core.take_actions():
            match action:
                case Send(payload):
                    self.sent.append(msgpack.unpackb(payload))
                case DialNow():
                    self.dials += 1
                case HangUp():
                    self.hang_ups.append(action)

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.core.received(msgpack.packb(message), self.now, self.wall_us)
            self.act()

    def welcome(self) -> dict[str, Any]:
        return {
            "type": "welcome",
            "version": 1,
            "node": "n",
            "session": "s",
            "time": 1,
            "heartbeat_ms": HEARTBEAT_MS,
            "resumes": ["book", "trades", "ticker", "board", "events"],
        }

    def connect(self) -> None:
        """Connects, from IDLE or from CONNECTING, to OPEN."""
        if self.core.state is ConnectionState.IDLE:
            self.core.start(self.now)
            self.act()
        self.core.dialed(self.now)
        self.say(self.welcome())

    def cut(self, code: int = 1006, reason: str = "") -> None:
        self.core.closed(code, reason, self.now)
        self.act()

    def wait(self, seconds: float) -> None:
        """Lets time pass, and calls ``tick`` at each deadline of the core."""
        end = self.now + seconds
        while (due := self.core.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.core.tick(self.now)
            self.act()
        self.now = end

    def ops(self, op: str) -> list[dict[str, Any]]:
        return [command for command in self.sent if command["op"] == op]

    def agree(self, sub: int, *, resumed: bool = False, **more: Any) -> None:
        """Answers the newest ``subscribe``, which was for one instrument."""
        self.say(
            subscribed(self.ops("subscribe")[-1], sub, resumed=resumed, price_exp=-2, size_exp=-8, **more)
        )

    def refuse(self, command: dict[str, Any], code: str, message: str) -> None:
        self.say({"type": "error", "id": command["id"], "code": code, "message": message})

    def reconnect(self) -> None:
        """Cuts the connection, and connects again after the first delay."""
        self.cut()
        self.wait(0.5)
        self.connect()


class FakeLink:
    """A fake connection for a single subscription."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.policy = Policy()
        self.random: Callable[[], float] = lambda: 1.0
        self.asked: list[int] = []
        self.unsubscribed: list[Any] = []

    def send_recover(self, subscription: Any, from_seq: int) -> None:
        self.stats.recoveries += 1
        self.asked.append(from_seq)

    def send_ack(self, subscription: Any, seq: int) -> None: ...

    def unsubscribe(self, subscription: Any) -> None:
        self.unsubscribed.append(subscription)
        subscription.end(None)

    def due(self, when: float) -> None: ...


class ModelGateway:
    """A gateway for one instrument's book, in plain Python; keeps the view at every number.

    Messages wait in ``outbox`` until ``deliver``. A message removed before that is lost.
    """

    SUB = 7

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.epoch = 1
        self.seq = 0
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.history: dict[tuple[int, int], tuple[Levels, Levels]] = {}
        self.sent_seq = 0
        self.outbox: deque[Any] = deque()
        self.subscribed = False
        self._remember()

    def view(self) -> tuple[Levels, Levels]:
        bids = sorted(self.sides[0].items(), reverse=True)
        asks = sorted(self.sides[1].items())
        return bids[: self.depth or None], asks[: self.depth or None]

    def update(self, changes: list[tuple[int, int, int]]) -> None:
        """Applies (side, distance from the middle, lots) changes as one update; sends it if the client has subscribed."""
        before = self.seq
        for side, distance, lots in changes:
            ticks = 1000 + (distance if side else -distance)
            if lots:
                self.sides[side][ticks] = lots
            else:
                self.sides[side].pop(ticks, None)
        self.seq += 1
        self._remember()
        if self.subscribed:
            self.outbox.append(self.delta(before))
            self.sent_seq = self.seq

    def restart(self) -> None:
        """A new writer starts: a new epoch, an empty book."""
        self.epoch += 1
        self.seq = self.sent_seq = 0
        self.sides = ({}, {})
        self._remember()
        if self.subscribed:
            self.outbox.append(self.snapshot("epoch"))

    def heartbeat(self) -> None:
        if self.subscribed:
            self.outbox.append([5, 1, [self.SUB, self.sent_seq]])

    def drop_link(self) -> None:
        self.outbox.clear()
        self.subscribed = False

    def obey(self, command: dict[str, Any]) -> None:
        if command["op"] == "subscribe":
            resume = command.get("resume", {}).get(command["instruments"][0])
            resumed = resume is not None and resume[0] == self.epoch and resume[1] <= self.seq
            self.subscribed = True
            self.sent_seq = self.seq
            self.outbox.append(subscribed(command, self.SUB, resumed=resumed))
            if not resumed:
                self.outbox.append(self.snapshot("subscribe"))
            elif resume[1] < self.seq:
                self.outbox.append(self.delta(resume[1]))
        elif command["op"] == "recover" and self.subscribed:
            since = command["from"] - 1
            known = 0 <= since < self.seq and command["from"] % 5 != 4
            self.outbox.append(self.delta(since) if known else self.snapshot("recover"))

    def snapshot(self, reason: str) -> list[Any]:
        bids, asks = self.view()
        return [2, self.SUB, self.epoch, self.seq, 1, flat(bids), flat(asks), crc_of(bids, asks), reason]

    def delta(self, since: int) -> list[Any]:
        old, new = self.history[self.epoch, since], self.view()
        changes = [
            flat(
                [(t, n) for t, n in new[i] if dict(old[i]).get(t) != n]
                + [(t, 0) for t, _ in old[i] if t not in dict(new[i])]
            )
            for i in (0, 1)
        ]
        return [1, self.SUB, since + 1, self.seq, 1, *changes, crc_of(*new)]

    def _remember(self) -> None:
        self.history[self.epoch, self.seq] = self.view()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def make_desk() -> type[Desk]:
    return Desk


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def make_gateway() -> type[ModelGateway]:
    return ModelGateway


@pytest.fixture
def answer() -> Callable[..., dict[str, Any]]:
    return subscribed


@pytest.fixture
def crc() -> Callable[[Levels, Levels], int]:
    return crc_of
