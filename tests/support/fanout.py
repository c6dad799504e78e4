"""A feed that packs payloads, and a client that checks everything: plain Python on both sides of the hub, as the oracle."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from doubles.memory_sink import MemorySender, MemorySink

from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.topic import Topic

JSON, MSGPACK = 0, 1
FORMATS = pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
"""For tests of both formats."""
VIEWS = pytest.mark.parametrize(("depth", "group"), [(0, 1), (1, 1), (2, 1), (0, 5), (1, 2)])
PRICE_EXP, SIZE_EXP = -2, -3
SIDES = {"buy": 1, "sell": 2, None: 0}

Levels = dict[int, int]


def book_payload(
    epoch: int, first: int, last: int, ts: int, bids: Iterable[int], asks: Iterable[int]
) -> bytes:
    return msgpack.packb([1, epoch, first, last, ts, list(bids), list(asks)])


def snap_payload(epoch: int, seq: int, ts: int, bids: Iterable[int], asks: Iterable[int]) -> bytes:
    return msgpack.packb([2, epoch, seq, ts, list(bids), list(asks)])


def trade_payload(
    epoch: int, seq: int, ts: int, price: int, size: int, side: int = 1, trade_id: Any = None
) -> bytes:
    return msgpack.packb([3, epoch, seq, ts, price, size, side, seq if trade_id is None else trade_id])


def flat(levels: Levels, *, bids: bool) -> list[int]:
    return [number for ticks in sorted(levels, reverse=bids) for number in (ticks, levels[ticks])]


def cut(levels: Levels, *, bids: bool, depth: int, group: int) -> Levels:
    """The contract's view of one side: grouped, then cut."""
    grouped: Levels = {}
    for ticks, lots in levels.items():
        bucket = ticks // group * group if bids else -(-ticks // group) * group
        grouped[bucket] = grouped.get(bucket, 0) + lots
    best = sorted(grouped, reverse=bids)[: depth or None]
    return {ticks: grouped[ticks] for ticks in best}


def checksum(bids: Levels, asks: Levels) -> int:
    """The contract's CRC."""
    best_bids = sorted(bids.items(), reverse=True)[:10]
    best_asks = sorted(asks.items())[:10]
    numbers: list[int] = []
    for i in range(10):
        for side in (best_bids, best_asks):
            if i < len(side):
                numbers += side[i]
    return zlib.crc32(":".join(map(str, numbers)).encode())


class Feed:
    """The writer of an instrument: applies updates to its own dicts, and returns their payloads."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch
        self.seq = 0
        self.trade_seq = 0
        self.ts = 1_000_000
        self.bids: Levels = {}
        self.asks: Levels = {}

    def update(self, bids: Levels | None = None, asks: Levels | None = None) -> bytes:
        self.seq += 1
        self.ts += 10
        for side, changes in ((self.bids, bids or {}), (self.asks, asks or {})):
            for ticks, lots in changes.items():
                if lots:
                    side[ticks] = lots
                else:
                    side.pop(ticks, None)
        changes = [[n for level in (part or {}).items() for n in level] for part in (bids, asks)]
        return book_payload(self.epoch, self.seq, self.seq, self.ts, *changes)

    def snap(self) -> bytes:
        return snap_payload(
            self.epoch, self.seq, self.ts, flat(self.bids, bids=True), flat(self.asks, bids=False)
        )

    def trade(self, price: int = 100, size: int = 5, side: int = 1) -> bytes:
        self.trade_seq += 1
        self.ts += 10
        return trade_payload(self.epoch, self.trade_seq, self.ts, price, size, side)

    def restart(self) -> None:
        """A new epoch: an empty book at number 0."""
        self.epoch += 1
        self.seq = self.trade_seq = 0
        self.bids, self.asks = {}, {}

    def view(self, depth: int = 0, group: int = 1) -> tuple[Levels, Levels]:
        return (
            cut(self.bids, bids=True, depth=depth, group=group),
            cut(self.asks, bids=False, depth=depth, group=group),
        )


def ticks(text: str, exp: int) -> int:
    value = Decimal(text).scaleb(-exp)
    assert value == int(value) and "E" not in text.upper()
    return int(value)


def price(text: str) -> int:
    return ticks(text, PRICE_EXP)


def size(text: str) -> int:
    return ticks(text, SIZE_EXP)


def pairs(numbers: list[int]) -> Levels:
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


def decode_json(payload: bytes) -> list[dict[str, Any]]:
    message = json.loads(payload)
    for side in ("bids", "asks"):
        if side in message:
            message[side] = {price(p): size(s) for p, s in message[side]}
    for quote in ("bid", "ask", "last"):
        if message["type"] == "ticker" and message[quote] is not None:
            message[quote] = (price(message[quote][0]), size(message[quote][1]))
    if "trades" in message:
        message["trades"] = [
            (seq, ts, price(p), size(s), SIDES[side], trade_id)
            for seq, ts, p, s, side, trade_id in message["trades"]
        ]
    return [message]


FIELDS = {
    1: ("delta", "sub first last ts bids asks crc"),
    2: ("snapshot", "sub epoch seq ts bids asks crc reason"),
    3: ("trades", "sub epoch first last trades"),
    4: ("ticker", "sub epoch seq ts bid bid_lots ask ask_lots last last_lots"),
    5: ("heartbeat", "time seqs"),
}


def decode_msgpack(payload: bytes) -> list[dict[str, Any]]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload)
    return [value if isinstance(value, dict) else decode_array(value) for value in unpacker]


def decode_array(value: list[Any]) -> dict[str, Any]:
    kind, names = FIELDS[value[0]]
    message = {"type": kind} | dict(zip(names.split(), value[1:], strict=True))
    if kind in ("delta", "snapshot"):
        message["bids"], message["asks"] = pairs(message["bids"]), pairs(message["asks"])
    if kind == "ticker":
        for quote in ("bid", "ask", "last"):
            lots = message.pop(f"{quote}_lots")
            message[quote] = None if message[quote] is None else (message[quote], lots)
    if kind == "heartbeat":
        message["seqs"] = [list(pair) for pair in pairs(message["seqs"]).items()]
    if kind == "trades":
        message["trades"] = [
            tuple(SIDES.get(x, x) if i == 4 else x for i, x in enumerate(t)) for t in message["trades"]
        ]
    return message


@dataclass
class Subscription:
    """A client's state of one topic, checked at every message."""

    topic: Topic
    epoch: int = 0
    seq: int = 0
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    has_view: bool = False
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    ticker: dict[str, Any] | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    recovering_from: int | None = None

    def base(self) -> int:
        """The index of the newest snapshot; older messages no longer matter."""
        return max(
            (i for i, message in enumerate(self.messages) if message["type"] == "snapshot"), default=-1
        )

    def take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        getattr(self, "on_" + message["type"])(message)

    def on_snapshot(self, message: dict[str, Any]) -> None:
        self.epoch, self.seq = message["epoch"], message["seq"]
        self.bids, self.asks = dict(message["bids"]), dict(message["asks"])
        self.has_view, self.recovering_from = True, None
        assert list(message["bids"]) == sorted(message["bids"], reverse=True), "bids: best first"
        assert list(message["asks"]) == sorted(message["asks"]), "asks: best first"
        self.check(message)

    def on_delta(self, message: dict[str, Any]) -> None:
        assert self.has_view, "a delta before any snapshot"
        expected = self.seq + 1 if self.recovering_from is None else self.recovering_from
        assert message["first"] == expected, f"gap: first {message['first']}, expected {expected}"
        assert message["last"] >= message["first"]
        for side, changes in ((self.bids, message["bids"]), (self.asks, message["asks"])):
            for level, lots in changes.items():
                if lots:
                    side[level] = lots
                else:
                    side.pop(level, None)
        self.seq, self.recovering_from = message["last"], None
        self.check(message)

    def check(self, message: dict[str, Any]) -> None:
        assert message["crc"] == checksum(self.bids, self.asks), "checksum"
        depth = self.topic.depth
        assert not depth or (len(self.bids) <= depth and len(self.asks) <= depth), "deeper than subscribed"

    def on_trades(self, message: dict[str, Any]) -> None:
        if message["epoch"] != self.epoch:
            self.epoch, self.seq = message["epoch"], message["first"] - 1
        if self.recovering_from is None:
            assert message["first"] == self.seq + 1, f"gap: first {message['first']} after {self.seq}"
        assert [t[0] for t in message["trades"]] == list(range(message["first"], message["last"] + 1))
        self.trades += [t for t in message["trades"] if t not in self.trades]
        self.seq, self.recovering_from = message["last"], None

    def on_lost(self, message: dict[str, Any]) -> None:
        assert message["first"] <= message["last"]
        self.lost.append((message["first"], message["last"]))
        if self.recovering_from is not None:
            self.recovering_from = message["last"] + 1
        self.seq = max(self.seq, message["last"])

    def on_ticker(self, message: dict[str, Any]) -> None:
        self.ticker = message
        self.epoch, self.seq = message["epoch"], message["seq"]

    def on_state(self, message: dict[str, Any]) -> None:
        pass


class Client:
    """A memory sink, and the views of its peer."""

    def __init__(
        self,
        hub: Hub,
        format: int = JSON,
        room: int = -1,
        window_bits: int = 0,
        sender: MemorySender | None = None,
    ) -> None:
        self.hub = hub
        self.sink = MemorySink(format, room, window_bits=window_bits)
        if sender is not None:
            sender.add(self.sink)
        self.subs: dict[int, Subscription] = {}
        self.heartbeats: list[dict[str, Any]] = []
        self.control: list[dict[str, Any]] = []

    def subscribe(self, topic: Topic, resume: Subscription | None = None) -> Subscription:
        at = None if resume is None else (resume.epoch, resume.seq)
        self.resumed = self.hub.subscribe(self.sink, topic, at)
        sub = Subscription(topic)
        if self.resumed and resume is not None:
            sub = Subscription(
                topic, resume.epoch, resume.seq, bids=dict(resume.bids), asks=dict(resume.asks)
            )
            sub.has_view, sub.trades, sub.lost = resume.has_view, list(resume.trades), list(resume.lost)
        elif topic.channel == "trades":
            sub.epoch, sub.seq = topic.epoch, topic.seq
        self.subs[topic.number] = sub
        self.hub.catch_up(self.sink, topic)
        self.read()
        return sub

    def recover(self, topic: Topic, from_seq: int) -> None:
        self.read()
        self.subs[topic.number].recovering_from = from_seq
        self.hub.recover(self.sink, topic, from_seq)
        self.read()

    def read(self) -> list[dict[str, Any]]:
        decode = decode_msgpack if self.sink.format == MSGPACK else decode_json
        messages = [message for payload in self.sink.take() for message in decode(payload)]
        for message in messages:
            if message["type"] == "heartbeat":
                self.heartbeats.append(message)
            elif message.get("sub") in self.subs:
                self.subs[message["sub"]].take(message)
            else:
                self.control.append(message)
        return messages


def equals_feed(client: Client, feed: Feed) -> None:
    """Each of its views is what the feed's book is."""
    client.read()
    for sub in client.subs.values():
        assert (sub.bids, sub.asks) == feed.view(sub.topic.depth, sub.topic.group)
