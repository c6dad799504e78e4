"""The client's events without a socket: gaps, pages, acknowledgements, another stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mdstream.client import events as wire
from mdstream.client.protocol import Request, acknowledge, publish, subscribe
from mdstream.client.protocol_factory import make_codec
from mdstream.client.topic_events import Event, Events

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "events.json").read_text(encoding="utf-8"))
EPOCH = 1_753_000_000_000_000


@pytest.mark.parametrize("vector", VECTORS["data"], ids=lambda vector: vector["name"])
def test_both_formats_give_the_same_event(vector: dict[str, Any]) -> None:
    (one,) = make_codec("json").decode(vector["json"].encode())
    (other,) = make_codec("msgpack").decode(bytes.fromhex(vector["msgpack"]))
    assert one == other == wire.TopicEvent(*vector["fields"].values())


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_answers_are_read(vector: dict[str, Any]) -> None:
    (one,) = make_codec("json").decode(vector["json"].encode())
    (other,) = make_codec("msgpack").decode(bytes.fromhex(vector["msgpack"]))
    assert one == other
    for name in ("topic", "seq", "last", "more", "acknowledge", "position", "newest", "duplicate", "epoch"):
        if name in vector["message"]:
            assert getattr(one, name) == vector["message"][name]


def test_commands_are_the_vectors() -> None:
    own, orders = Request("events", "user"), Request("events", "desk.orders", device="phone")
    made = [
        subscribe(1, [own]),
        subscribe(1, [own._replace(device="phone"), orders]),
        subscribe(1, [Request("events", "desk.a")], {"desk.a": (EPOCH, 4711)}),
        acknowledge(11, 4712),
        publish(2, "desk.notices", "notice", None, "7f3a"),
    ]
    wanted = [vector["message"] for vector in VECTORS["commands"] if vector["name"] != "publish"]
    assert made == wanted


class Line:
    """A subscription to one topic, and a gateway that says what it is told."""

    def __init__(self, desk: Any, request: Request | None = None, *, heard: bool = True) -> None:
        self.desk = desk
        desk.connect()
        self.events = Events(request or Request("events", "desk.a"), desk.core)
        self.got: list[Event] = []
        if heard:
            self.events.on_event(self.got.append)
        desk.core.subscribe(self.events, desk.now)
        desk.act()

    def accept(self, sub: int = 1, **more: Any) -> None:
        command = self.sent("subscribe")
        told = {"type": "subscribed", "id": command["id"], "sub": sub, "channel": "events", "topic": "desk.a"}
        told |= {"epoch": EPOCH, "acknowledge": "none", "position": None, "newest": 0, "resumed": False}
        self.desk.say(told | more)

    def sent(self, op: str) -> dict[str, Any]:
        return next(command for command in reversed(self.desk.sent) if command["op"] == op)

    def count(self, op: str) -> int:
        return sum(command["op"] == op for command in self.desk.sent)

    def event(self, seq: int, prev: int, *, redelivered: bool = False, sub: int = 1) -> None:
        self.desk.say([11, sub, "desk.a", seq, prev, 5, "n", seq, "alice", redelivered])

    def recovered(self, last: int, *, more: bool = False) -> None:
        id = self.sent("recover")["id"]
        self.desk.say({"type": "recovered", "id": id, "sub": 1, "from": 1, "last": last, "more": more})

    @property
    def numbers(self) -> list[int]:
        return [event.seq for event in self.got]


@pytest.fixture
def line(desk: Any) -> Line:
    return Line(desk)


def test_a_gap_is_asked_for_and_what_comes_meanwhile_is_held(line: Line) -> None:
    line.accept(newest=3)
    line.event(5, 3)
    line.event(9, 7)
    line.event(10, 9)
    assert line.numbers == [5] and line.sent("recover")["from"] == 6 and line.count("recover") == 1
    assert line.events.state == "recovering"
    line.event(7, 5, redelivered=True)
    line.recovered(10)
    assert line.numbers == [5, 7, 9, 10] and line.events.state == "live"
    line.event(10, 9)
    assert line.numbers == [5, 7, 9, 10] and line.events.duplicates == 1


def test_what_was_held_beyond_another_gap_waits_until_that_was_asked_for_too(line: Line) -> None:
    """The answer may reach less far than what came meanwhile."""
    line.accept(newest=3)
    line.event(9, 7)
    line.event(20, 15)
    line.event(7, 3, redelivered=True)
    line.recovered(7)
    assert line.numbers == [7, 9] and line.sent("recover")["from"] == 10
    assert line.events.state == "recovering"
    line.event(15, 9, redelivered=True)
    line.recovered(15)
    assert line.numbers == [7, 9, 15, 20] and line.events.state == "live"


def test_what_comes_before_anybody_listens_is_for_the_first_who_does(desk: Any) -> None:
    line = Line(desk, heard=False)
    line.accept(newest=3)
    line.event(5, 3)
    line.event(6, 5)
    line.events.on_event(line.got.append)
    assert line.numbers == [5, 6]
    second: list[Event] = []
    line.events.on_event(second.append)
    line.event(7, 6)
    assert line.numbers == [5, 6, 7] and [event.seq for event in second] == [7]


def test_pages_are_asked_for_until_there_are_no_more(line: Line) -> None:
    line.accept(newest=3)
    line.event(40, 30)
    line.event(10, 3, redelivered=True)
    line.recovered(12, more=True)
    assert line.sent("recover")["from"] == 13
    line.event(30, 10, redelivered=True)
    line.recovered(40)
    assert line.numbers == [10, 30, 40]


def test_what_is_lost_is_told(line: Line) -> None:
    lost: list[tuple[int, int]] = []
    line.events.on_lost(lambda first, last: lost.append((first, last)))
    line.accept(newest=3)
    line.event(40, 30)
    line.desk.say({"type": "lost", "sub": 1, "first": 4, "last": 29})
    line.event(30, 0, redelivered=True)
    line.recovered(40)
    assert (line.numbers, lost, line.events.lost) == ([30, 40], [(4, 29)], 1)


def test_a_lost_tail_shows_in_the_heartbeat(line: Line) -> None:
    line.accept(newest=3)
    line.desk.say([5, 1, [1, 3]])
    assert line.count("recover") == 0
    line.desk.say([5, 1, [1, 8]])
    assert line.sent("recover")["from"] == 4


def test_a_new_connection_goes_on_and_another_stream_begins_anew(line: Line) -> None:
    line.accept(newest=3)
    line.event(5, 3)
    line.desk.reconnect()
    assert line.sent("subscribe")["resume"] == {"desk.a": [EPOCH, 5]}
    line.accept(newest=9)
    assert line.sent("recover")["from"] == 6
    line.recovered(9)
    line.desk.reconnect()
    line.accept(newest=2, epoch=EPOCH + 1)
    assert line.sent("recover")["from"] == 1
    line.event(2, 0, redelivered=True)
    assert line.numbers == [5, 2]


def test_from_a_number_on(desk: Any) -> None:
    line = Line(desk, Request("events", "desk.a", since=0))
    assert "resume" not in line.sent("subscribe")
    line.accept(newest=7)
    assert line.sent("recover")["from"] == 1


def test_acknowledgements_are_sent_together_and_again(line: Line) -> None:
    stored: list[int] = []
    line.events.on_acknowledged(stored.append)
    line.accept(acknowledge="user", position=3, newest=3)
    for seq in range(4, 9):
        line.event(seq, seq - 1)
        line.events.acknowledge(line.got[-1])
    line.events.acknowledge(5)
    line.desk.core.flush_acks(line.desk.now)
    line.desk.act()
    assert line.count("ack") == 1 and line.sent("ack")["seq"] == 8
    line.events.acknowledge(9)
    line.desk.core.flush_acks(line.desk.now + 0.01)
    line.desk.act()
    assert line.count("ack") == 1
    line.desk.say({"type": "acknowledged", "sub": 1, "seq": 8})
    assert (stored, line.events.acknowledged) == ([8], 8)
    line.desk.reconnect()
    line.accept(acknowledge="user", position=8, newest=9)
    line.desk.core.flush_acks(line.desk.now + 60)
    line.desk.act()
    assert line.sent("ack") == {"op": "ack", "sub": 1, "seq": 9}


def test_with_acknowledgement_what_comes_again_is_left_out_and_nothing_is_asked_for(line: Line) -> None:
    line.accept(acknowledge="user", position=None, newest=9)
    line.event(4, 0, redelivered=True)
    line.event(9, 7)
    line.event(4, 0, redelivered=True)
    line.event(12, 9)
    assert line.numbers == [4, 9, 12] and line.count("recover") == 0
    assert line.events.duplicates == 1


def test_one_s_own_topic_has_its_whole_name(desk: Any) -> None:
    line = Line(desk, Request("events", "user"))
    line.accept(topic="user.alice")
    assert line.events.topic == "user.alice" and line.events.accepted


def test_publishing_is_answered_or_not(desk: Any) -> None:
    desk.connect()
    answers: list[Any] = []
    for key in ("a", "b", "c"):
        desk.core.publish("desk.a", "n", 1, key, answers.append)
    desk.act()
    ids = [command["id"] for command in desk.sent if command["op"] == "publish"]
    desk.say({"type": "published", "id": ids[0], "topic": "desk.a", "seq": 7, "duplicate": False})
    desk.say({"type": "error", "id": ids[1], "code": "unavailable", "message": "later"})
    desk.cut()
    assert answers[0] == wire.Published("desk.a", 7, False, ids[0])
    assert answers[1].code == "unavailable" and answers[2] is None
    desk.core.publish("desk.a", "n", 1, "d", answers.append)
    assert answers[3] is None
