"""Events that must not be read, published, acknowledged or believed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import msgpack

from attack.arena import DEADLINE_S, Arena
from attack.rows import Row
from attack.rows_users import EntitledRow, Grant, a_user, enter, subscribe, token

DESK: Grant = {"channels": ["events"], "topics": ["desk.*"], "publish": True}
READ: Grant = {"channels": ["events"], "topics": ["desk.*"]}
EVERYTHING_ELSE: Grant = {"channels": ["*"], "instruments": ["*"], "publish": True}
SECRET = "user.canary"
READS: dict[str, Any] = {"op": "subscribe", "channel": "events", "topics": [SECRET]}
POST: dict[str, Any] = {"op": "publish", "topic": "desk.a", "event": "x", "data": 1}


def refused(name: str, command: dict[str, Any], *grants: Grant, code: str = "not_entitled") -> list[Row]:
    """In both formats."""
    return [
        EntitledRow(name=f"{name}, {format}", command=command, grants=grants, code=code, format=format)
        for format in ("json", "msgpack")
    ]


@dataclass(frozen=True, kw_only=True)
class AckRow(Row):
    """An acknowledgement that must be refused, and moves nothing: what was sent before comes again to the next session."""

    seq: int
    own_sub: bool = True
    """Of the session's own subscription; else of another session's."""
    code: str = "bad_value"

    def play(self, arena: Arena) -> None:
        user = a_user()
        with enter(arena, token("writer", DESK | {"topics": ["user.*"]})) as writer:
            writer.say(POST | {"topic": f"user.{user}"})
            first = writer.until("published")["seq"]
        with enter(arena, token(user)) as client:
            sub = subscribe(client, READS | {"topics": ["user"]})
            assert client.until("event")["seq"] == first
            victim = client if self.own_sub else enter(arena, token(a_user()))
            with victim:
                victim.say({"op": "ack", "sub": sub, "seq": self.seq + first})
                error = victim.until("error", "acknowledged")
                assert error.get("code") == self.code, error
                victim.say({"op": "ping"})
                victim.until("pong")
        with enter(arena, token(user)) as again:
            again.say(READS | {"topics": ["user"]})
            assert again.until("subscribed")["position"] is None
            assert again.until("event")["seq"] == first


@dataclass(frozen=True, kw_only=True)
class SenderRow(Row):
    """Whatever a client writes into its event, the sender is its own."""

    data: Any

    def play(self, arena: Arena) -> None:
        user = a_user()
        with enter(arena, token(user, DESK)) as client:
            subscribe(client, READS | {"topics": ["desk.senders"]})
            client.say(POST | {"topic": "desk.senders", "data": self.data})
            event = client.until("event")
            assert (event["sender"], event["data"]) == (user, self.data), event


@dataclass(frozen=True, kw_only=True)
class FloodRow(Row):
    """More events at once than one may publish: the rest is refused, and the session goes on."""

    count: int = 400

    def play(self, arena: Arena) -> None:
        with enter(arena, token(a_user(), DESK)) as client:
            client.say(*[POST | {"topic": "desk.flood", "data": "x" * 100}] * self.count)
            answers = [client.until("published", "error") for _ in range(self.count)]
            codes = {answer.get("code") for answer in answers if answer["type"] == "error"}
            assert codes == {"rate_limited"}, codes
            client.say({"op": "ping"})
            client.until("pong")


@dataclass(frozen=True, kw_only=True)
class NoEventRow(Row):
    """What is stored as an event and is none: it is counted, and the next event comes without a gap."""

    payload: bytes

    def play(self, arena: Arena) -> None:
        user = a_user()
        topic = f"desk.{user}"
        with enter(arena, token(user, DESK)) as client:
            subscribe(client, READS | {"topics": [topic]})
            client.say(POST | {"topic": topic, "data": "before"})
            before = client.until("event")
            refused = arena.gateway.metric("mdstream_events_refused_total")
            arena.target.publish(f"ev.{topic}", self.payload)
            until = time.monotonic() + DEADLINE_S
            while arena.gateway.metric("mdstream_events_refused_total") == refused:
                assert time.monotonic() < until, "it was not refused"
            client.say(POST | {"topic": topic, "data": "after"})
            after = client.until("event")
            assert (after["data"], after["prev"]) == ("after", before["seq"]), after


@dataclass(frozen=True, kw_only=True)
class ForgedLiveRow(Row):
    """What is published where the stream publishes again, and is not of the stream: nobody is sent it."""

    def play(self, arena: Arena) -> None:
        user = a_user()
        topic = f"desk.{user}"
        with enter(arena, token(user, DESK)) as client:
            subscribe(client, READS | {"topics": [topic]})
            arena.target.publish(f"mdstream.ev.{topic}", json.dumps({"type": "x", "data": "forged"}).encode())
            client.say(POST | {"topic": topic, "data": "genuine"})
            event = client.until("event")
            assert event["data"] == "genuine", event


_DEEP = 100 * b"[" + 100 * b"]"
ROWS: list[Row] = [
    # reading
    *refused("another user's topic", READS),
    *refused("another user's topic, for who may read all", READS, READ | {"topics": ["*"]}),
    *refused("a topic that is not granted", READS | {"topics": ["news"]}, READ),
    *refused("a topic for who may see all instruments", READS | {"topics": ["news"]}, EVERYTHING_ELSE),
    *refused("a topic among entitled ones", READS | {"topics": ["desk.a", SECRET]}, READ),
    *refused("a topic that begins alike", READS | {"topics": ["desks"]}, READ),
    *refused("a grant to publish alone", READS | {"topics": ["desk.a"]}, DESK | {"read": False}),
    *refused("a grant of maps", READS | {"topics": ["desk.a"]}, READ | {"channels": ["map"]}),
    *refused("999 topics of others", READS | {"topics": [f"user.u{i}" for i in range(999)]}, READ),
    *refused("1,001 topics", READS | {"topics": [f"desk.{i}" for i in range(1_001)]}, READ, code="bad_value"),
    *(
        row
        for name, topic in (
            ("a wildcard of NATS", "desk.>"),
            ("another wildcard of NATS", "desk.*"),
            ("an empty part", "desk..a"),
            ("a blank", "desk. a"),
            ("a line end", "desk.a\n"),
            ("a NUL", "desk.a\0"),
            ("a letter that looks alike", "desk.\u0430"),
            ("an escape that is none", "desk.%zz"),
            ("an escape of a letter", "desk.%61"),
            ("an escape in lower case", "desk.%c3%a9"),
            ("no topic", ""),
            ("60,000 characters", "desk." + 60_000 * "a"),
        )
        for row in refused(f"{name} in a topic", READS | {"topics": [topic]}, READ, code="bad_value")
    ),
    *refused("a device without a name", READS | {"topics": ["desk.a"], "device": ""}, READ, code="bad_value"),
    *refused("a device of 65 characters", READS | {"topics": ["desk.a"], "device": 65 * "d"}, READ, code="bad_value"),
    *refused("a resume of another topic", READS | {"topics": ["desk.a"], "resume": {SECRET: [1, 1]}}, READ, code="bad_value"),
    *refused("a resume that is no place", READS | {"topics": ["desk.a"], "resume": {"desk.a": 1}}, READ, code="bad_value"),
    # publishing
    *refused("publishing without a grant", POST, READ),
    *refused("publishing to another user", POST | {"topic": SECRET}, DESK),
    *refused("publishing to another user, for who may publish all", POST | {"topic": SECRET}, DESK | {"topics": ["*"]}),
    *refused("publishing to one's own topic", POST | {"topic": "user"}),
    *refused("publishing with a sender", POST | {"sender": "alice"}, DESK, code="bad_command"),
    *refused("publishing with a number", POST | {"seq": 1}, DESK, code="bad_command"),
    *refused("publishing to a wildcard", POST | {"topic": "desk.>"}, DESK, code="bad_value"),
    *refused("publishing to another stream", POST | {"topic": "desk.a md.SIM.A.book"}, DESK, code="bad_value"),
    *refused("publishing 16,385 bytes", POST | {"data": 16_383 * "x"}, DESK, code="bad_value"),
    *refused("publishing 60,000 bytes", POST | {"data": 60_000 * "x"}, DESK, code="bad_value"),
    *refused("publishing 100 open lists", POST | {"data": json.loads(_DEEP)}, DESK, code="bad_value"),
    *refused("publishing without data", {key: value for key, value in POST.items() if key != "data"}, DESK, code="bad_command"),
    *refused("publishing without a type", POST | {"event": ""}, DESK, code="bad_value"),
    *refused("publishing an escape sequence as a type", POST | {"event": "\x1b[2J"}, DESK, code="bad_value"),
    *refused("publishing a type of 65 characters", POST | {"event": 65 * "x"}, DESK, code="bad_value"),
    *refused("publishing with a key of 65 characters", POST | {"key": 65 * "k"}, DESK, code="bad_value"),
    *refused("publishing with an empty key", POST | {"key": ""}, DESK, code="bad_value"),
    FloodRow(name="400 events at once"),
    SenderRow(name="a sender in the data", data={"sender": "alice", "type": "x"}),
    SenderRow(name="a message of the bus as data", data={"type": "x", "data": 1, "sender": "alice"}),
    # acknowledging
    AckRow(name="an ack of a number that was never sent", seq=1),
    AckRow(name="an ack of the greatest number", seq=2**52),
    AckRow(name="an ack of another session's subscription", seq=0, own_sub=False, code="unknown_sub"),
    # the bus
    *(
        NoEventRow(name=f"{name} as an event", payload=payload)
        for name, payload in (
            ("nothing", b""),
            ("noise", b"\xc1\xff\x00"),
            ("an escape sequence", b"\x1b[31mFORGED\n"),
            ("a list", b"[]"),
            ("a number as type", b'{"type":1,"data":1}'),
            ("no data", b'{"type":"x"}'),
            ("a sender with a line end", b'{"type":"x","data":1,"sender":"a\\nFORGED"}'),
            ("100 open lists", b'{"type":"x","data":' + _DEEP + b"}"),
            ("100,000 open lists", b'{"type":"x","data":' + 30_000 * b"["),
            ("bytes", bytes(msgpack.packb({"type": "x", "data": b"bytes"}))),
            ("an extension", bytes(msgpack.packb({"type": "x", "data": msgpack.ExtType(1, b"x")}))),
            ("a number as a key", bytes(msgpack.packb({"type": "x", "data": {1: 2}}))),
            ("NaN", bytes(msgpack.packb({"type": "x", "data": float("nan")}))),
            ("a map of 2^32 - 1", b"\xdf\xff\xff\xff\xff"),
            ("16,385 bytes", json.dumps({"type": "x", "data": 16_383 * "x"}).encode()),
            ("100,000 bytes", 100_000 * b"x"),
        )
    ),
    ForgedLiveRow(name="a live event that the stream has not"),
]  # fmt: skip
