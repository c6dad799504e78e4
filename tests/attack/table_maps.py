"""Keyed state and presence: commands that are wrong, storms of changes, and topics that are not the sender's."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgpack

from attack.arena import Arena
from attack.rows import Row, refuses
from attack.rows_users import ChangeRow, EntitledRow, Grant
from attack.table_commands import BAD, BOOK, VALUE, both
from attack.wire import Attacker

MAP: dict[str, Any] = {"op": "subscribe", "channel": "map", "topics": ["desk.a"]}
PRESENCE: dict[str, Any] = {"op": "subscribe", "channel": "presence", "topics": ["desk.a"]}
PUT: dict[str, Any] = {"op": "put", "topic": "desk.a", "set": {"k": 1}}
READ: Grant = {"channels": ["map", "presence"], "topics": ["desk.*"]}
WRITE: Grant = READ | {"write": True}
_topics = itertools.count(1)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


COMMANDS: list[Row] = [
    *both("a map without a topic", MAP | {"topics": []}, VALUE),
    *both("a map of an instrument", {"op": "subscribe", "channel": "map", "instruments": ["SIM:A"]}, BAD),
    *both("a topic twice", MAP | {"topics": ["a", "a"]}, VALUE),
    *both("1,001 topics", MAP | {"topics": [f"t{n}" for n in range(1_001)]}, VALUE),
    *both("one's own topic of nobody", MAP | {"topics": ["user"]}, VALUE),
    *(
        row
        for number, topic in enumerate(
            (
                "",
                ".",
                "a..b",
                ".a",
                "a.",
                "*",
                "a.>",
                "a b",
                "a\nb",
                "a/b",
                "%",
                "%2e",
                "%2E%",
                "ä",
                "\x00",
                "$JS.API",
                "x" * 257,
            )
        )
        for row in both(f"topic {number} that is none", MAP | {"topics": [topic]}, VALUE)
    ),
    *both("a prefix of 129 characters", MAP | {"prefix": "x" * 129}, VALUE),
    *both("a map every 20 ms", MAP | {"interval_ms": 20}, VALUE),
    *both("a map every 7 ms", MAP | {"interval_ms": 7}, VALUE),
    *both("presence every 20 ms", PRESENCE | {"interval_ms": 20}, VALUE),
    *both("a resume of another topic", MAP | {"resume": {"desk.b": [1, 1]}}, VALUE),
    *both("a resume that is no pair", MAP | {"resume": {"desk.a": 7}}, VALUE),
    *both("a resume beyond 2^53", MAP | {"resume": {"desk.a": [1, 2**53]}}, VALUE),
    *both("info without join", PRESENCE | {"info": 1}, VALUE),
    *both("info of 2 KiB", PRESENCE | {"join": True, "info": "x" * 2_048}, VALUE),
    *both("info 33 deep", PRESENCE | {"join": True, "info": deep(33)}, VALUE),
    *both("a put of nothing", {"op": "put", "topic": "desk.a"}, VALUE),
    *both("a put without a topic", {"op": "put", "set": {"k": 1}}, BAD),
    *both("a put that only expects", {"op": "put", "topic": "desk.a", "expect": {"k": 0}}, VALUE),
    *both("a put of 257 keys", PUT | {"set": {str(n): 1 for n in range(257)}}, VALUE),
    *both("a key of 129 characters", PUT | {"set": {"k" * 129: 1}}, VALUE),
    *both("an empty key", PUT | {"set": {"": 1}}, VALUE),
    *both("a value of 17 KiB", PUT | {"set": {"k": "x" * 17_000}}, VALUE),
    *both("a value 33 deep", PUT | {"set": {"k": deep(33)}}, VALUE),
    *both("a value 600 deep", PUT | {"set": {"k": deep(600)}}, refuses("bad_command", "bad_value")),
    *both("a key that is set and deleted", PUT | {"delete": ["k"]}, VALUE),
    *both("a time to live of 0", PUT | {"ttl_ms": 0}, VALUE),
    *both("a time to live that is negative", PUT | {"ttl_ms": -1}, VALUE),
    *both("a time to live of a thousand years", PUT | {"ttl_ms": 2**53 - 1}, VALUE),
    *both("a time to live that is true", PUT | {"ttl_ms": True}, VALUE),
    *both("a rev that is negative", PUT | {"expect": {"k": -1}}, VALUE),
    *both("a rev that is text", PUT | {"expect": {"k": "1"}}, VALUE),
    *both("a key of a put of 65 characters", PUT | {"key": "x" * 65}, VALUE),
    *both("a forged author", PUT | {"by": "admin"}, BAD),
    *both("an expire of a client", PUT | {"expire": {"k": 1}}, BAD),
    *both("a client that drops a gateway", {"op": "put", "topic": "desk.a", "drop_node": "g0"}, BAD),
]


@dataclass(frozen=True, kw_only=True)
class StormRow(Row):
    """Many commands at once on a topic of its own, how often each answer must come at least, and nothing else may.

    How many are `rate_limited` depends on the time that they take: the budget grows meanwhile. One must be.
    """

    commands: tuple[dict[str, Any], ...]
    least: dict[str, int]
    format: str = "json"

    def play(self, arena: Arena) -> None:
        topic = f"storm.t{next(_topics)}"
        counted: Counter[str] = Counter()
        with Attacker(arena.gateway.port, self.format) as client:
            client.until("welcome")
            for number, command in enumerate(self.commands):
                of_topic = {"topics": [topic]} if "topics" in command else {"topic": topic}
                client.say(command | of_topic | {"id": number})
            while sum(counted.values()) < len(self.commands):
                message = client.until("stored", "subscribed", "error")
                counted[message.get("code", message["type"])] += 1
            client.say({"op": "ping"})
            client.until("pong")
        assert set(counted) <= set(self.least), counted
        for what, least in self.least.items():
            assert counted[what] >= least, counted


BID = PUT | {"expect": {"k": 0}}
STORMS: list[Row] = [
    StormRow(name=f"{name}, {format}", commands=commands, least=least, format=format)
    for format in ("json", "msgpack")
    for name, commands, least in (
        ("a storm of compare-and-set", (BID,) * 300, {"stored": 1, "conflict": 1, "rate_limited": 1}),
        ("a flood of puts", (PUT,) * 300, {"stored": 1, "rate_limited": 1}),
        (
            "a flood of prefixes",
            tuple(MAP | {"prefix": f"p{n}"} for n in range(100)),
            {"subscribed": 64, "limit_subscriptions": 36},
        ),
    )
]


@dataclass(frozen=True, kw_only=True)
class BusMapRow(Row):
    """What a program on the bus sends on the subject of a map that somebody looks at: it changes nothing, and what follows does."""

    payload: bytes

    def play(self, arena: Arena) -> None:
        topic = f"bus.t{next(_topics)}"
        with Attacker(arena.gateway.port, "json") as client:
            client.until("welcome")
            client.say(MAP | {"topics": [topic]})
            client.until("subscribed")
            client.until("map")
            arena.target.publish(f"map.{topic}", self.payload)
            client.say(PUT | {"topic": topic})
            message = client.until("map")
            assert list(message["set"]) == ["k"] and not message["delete"], message


BUS: list[Row] = [
    BusMapRow(name=f"{name} as a change", payload=payload)
    for name, payload in (
        ("nothing", b""),
        ("random bytes", bytes(range(256)) * 20),
        ("half of JSON", b'{"set":'),
        ("50,000 open braces", b'{"set":' * 50_000),
        ("50,000 nested arrays", b"\x91" * 50_000),
        ("an announced length of 4 GiB", b"\x81\xa3set\xdf\xff\xff\xff\xff"),
        ("NaN", b'{"set":{"k":[NaN,null]}}'),
        ("a text that is no UTF-8", b'{"set":{"k":["\xff",null]}}'),
        ("an extension type", msgpack.packb({"set": {"k": [msgpack.ExtType(5, b"x"), None]}})),
        ("a timestamp", msgpack.packb({"set": {"k": [msgpack.Timestamp(1), None]}})),
        ("a number beyond 64 bits", b'{"set":{"k":[99999999999999999999999999,null]}}'),
        (
            "a forged log line",
            json.dumps({"set\n2026-11-29T00:00:00.000Z error gateway.node: FORGED": 1}).encode(),
        ),
        ("a change of 100 KiB", json.dumps({"set": {"k": ["x" * 100_000, None]}}).encode()),
        ("the end of a key that is not over", b'{"expire":{"k":1}}'),
        ("the end of a gateway that is none", b'{"drop_node":"nobody"}'),
    )
]


@dataclass(frozen=True, kw_only=True)
class WholeRow(Row):
    """What stands in the place of a whole map and is none: this map is not shown, and others are."""

    payload: bytes

    def play(self, arena: Arena) -> None:
        topic, other = f"whole.t{next(_topics)}", f"whole.t{next(_topics)}"
        with Attacker(arena.gateway.port, "json") as client:
            client.until("welcome")
            client.say(MAP | {"topics": [other]}, PUT | {"topic": other})
            client.until("stored")
            arena.target.store({f"mapsnap.head.{topic}": self.payload})
            client.say(MAP | {"topics": [topic]})
            assert client.until("error", "subscribed").get("code") == "unavailable"
            client.say(PUT | {"topic": topic})
            assert client.until("error", "stored").get("code") == "unavailable"


ROW = ["k", 1, 1, "alice", 1, None]
WHOLES: list[Row] = [
    WholeRow(
        name=f"{name} as a whole map",
        payload=payload if isinstance(payload, bytes) else msgpack.packb(payload),
    )
    for name, payload in (
        ("random bytes", bytes(range(256))),
        ("50,000 nested arrays", b"\x91" * 50_000),
        ("an announced length of 4 GiB", b"\x96\x01\x05\x05\x00\x01\xdd\xff\xff\xff\xff"),
        ("a map of another format", [9, 5, 5, 0, 1, []]),
        ("a million pages", [1, 5, 5, 0, 1_000_000, []]),
        ("no page at all", [1, 5, 5, 0, 0, []]),
        ("a number that is text", [1, "5", 5, 0, 1, []]),
        ("a time that is text", [1, 5, "5", 0, 1, []]),
        ("a number beyond 2^53", [1, 2**63, 5, 0, 1, []]),
        ("a negative number", [1, -1, 5, 0, 1, []]),
        ("a key that is a number", [1, 5, 5, 0, 1, [[7, *ROW[1:]]]]),
        ("a rev that is text", [1, 5, 5, 0, 1, [[*ROW[:2], "1", *ROW[3:]]]]),
        ("an author that is a list", [1, 5, 5, 0, 1, [[*ROW[:3], ["alice"], *ROW[4:]]]]),
        ("an author of 10 kB", [1, 5, 5, 0, 1, [[*ROW[:3], "a" * 10_000, *ROW[4:]]]]),
        ("a time to live that is text", [1, 5, 5, 0, 1, [[*ROW[:5], "1"]]]),
        ("half a row", [1, 5, 5, 0, 1, [ROW[:3]]]),
    )
]


def of(name: str, command: dict[str, Any], *grants: Grant, expect: str = "not_entitled") -> list[EntitledRow]:
    return [
        EntitledRow(name=f"{name}, {format}", command=command, grants=grants, format=format, code=expect)
        for format in ("json", "msgpack")
    ]


EVERYTHING: Grant = {"channels": ["*"], "instruments": ["*"]}
ENTITLED: list[Row] = [
    *of("a map without a grant", MAP),
    *of("a map, with a grant of all instruments", MAP, EVERYTHING),
    *of("a map of another topic", MAP | {"topics": ["other.a"]}, WRITE),
    *of("a map of one's own topic and another's", MAP | {"topics": ["desk.a", "desks.a"]}, WRITE),
    *of("a map of another user", MAP | {"topics": ["user.victim"]}, WRITE | {"topics": ["*"]}),
    *of("a map of a grant of presence", MAP, READ | {"channels": ["presence"]}),
    *of("a map that may be written, not read", MAP, WRITE | {"read": False}),
    *of("a put without a grant", PUT),
    *of("a put where one may read", PUT, READ),
    *of("a put where one may publish events", PUT, READ | {"channels": ["*"], "publish": True}),
    *of("a put to another topic", PUT | {"topic": "other.a"}, WRITE),
    *of("a put to one's own topic without a grant", PUT | {"topic": "user"}, READ),
    *of("presence without a grant", PRESENCE),
    *of("presence of another topic", PRESENCE | {"topics": ["other.a"], "join": True}, WRITE),
    *of("who is present, where one may count", PRESENCE | {"who": True}, READ),
    *of(
        "who is present, where one may of another topic",
        PRESENCE | {"who": True},
        READ,
        READ | {"topics": ["x.*"], "who": True},
    ),
]

CHANGED: list[Row] = [
    ChangeRow(
        name=f"{name}, {format}",
        before=(EVERYTHING, READ | {"who": True}),
        after=(EVERYTHING, *after),
        lost=lost,
        kept=BOOK,
        format=format,
    )
    for format in ("json", "msgpack")
    for name, after, lost in (
        ("a map is no longer allowed", (READ | {"channels": ["presence"]},), MAP),
        ("presence is no longer allowed", (READ | {"channels": ["map"]},), PRESENCE | {"join": True}),
        ("who is present is no longer allowed", (READ,), PRESENCE | {"who": True}),
    )
]

OPEN: list[Row] = [*COMMANDS, *STORMS, *BUS, *WHOLES]
