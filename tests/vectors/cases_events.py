"""The channel ``events``: messages as (name, fields), answers as (name, map), commands as (name, map), and what is on the bus."""

from __future__ import annotations

from typing import Any

from reference import Object

EPOCH = 1_753_000_000_000_000
TIME = 1_753_000_123_456_789
MOST = 2**53 - 1
UINT32 = 2**32 - 1


def _event(**fields: Any) -> Object:
    return {
        "sub": 11,
        "topic": "desk.notices",
        "seq": 4712,
        "prev": 4709,
        "time": TIME,
        "event": "notice",
        "data": {"text": "maintenance at 18:00"},
        "sender": "alice",
        "redelivered": False,
    } | fields


def data() -> list[tuple[str, Object]]:
    values = [
        None,
        True,
        False,
        0,
        -1,
        2**31,
        -(2**40),
        0.5,
        -0.001,
        "",
        "é東€",
        [],
        {},
        [[1], {"a": [None]}],
    ]
    return [
        ("a notice", _event()),
        ("the first of a topic, from the bus", _event(seq=1, prev=0, sender=None)),
        ("sent again", _event(redelivered=True)),
        ("to a user", _event(topic="user.alice%40example%2Ecom", event="fill", data=[1, "2.50"])),
        ("every kind of value", _event(data=values)),
        ("a sender beyond ASCII", _event(sender="Zoë", event="Grüße")),
        ("greatest numbers", _event(sub=UINT32, seq=MOST, prev=MOST - 1, time=MOST)),
    ]


def messages() -> list[tuple[str, Object]]:
    head = {
        "type": "subscribed",
        "id": 1,
        "sub": 11,
        "channel": "events",
        "topic": "desk.notices",
        "epoch": EPOCH,
    }
    return [
        (
            "subscribed without acknowledgement",
            {**head, "acknowledge": "none", "position": None, "newest": 4709, "resumed": False},
        ),
        (
            "subscribed with a position",
            {
                **head,
                "topic": "user.alice",
                "acknowledge": "user",
                "position": 17,
                "newest": 4709,
                "resumed": True,
            },
        ),
        (
            "nothing acknowledged yet",
            {**head, "acknowledge": "device", "position": None, "newest": 0, "resumed": False},
        ),
        ("acknowledged", {"type": "acknowledged", "sub": 11, "seq": 4712}),
        ("recovered", {"type": "recovered", "id": 3, "sub": 11, "from": 4710, "last": 4980, "more": True}),
        ("recovered, no id was given", {"type": "recovered", "sub": 11, "from": 1, "last": 0, "more": False}),
        (
            "published",
            {"type": "published", "id": 2, "topic": "desk.notices", "seq": 4712, "duplicate": False},
        ),
        (
            "published before",
            {"type": "published", "id": "k", "topic": "user.bob", "seq": 9, "duplicate": True},
        ),
    ]


def commands() -> list[tuple[str, Object]]:
    subscribe = {"op": "subscribe", "id": 1, "channel": "events", "topics": ["user"]}
    publish = {
        "op": "publish",
        "id": 2,
        "topic": "desk.notices",
        "event": "notice",
        "data": {"text": "hello"},
    }
    return [
        ("subscribe to one's own topic", subscribe),
        ("subscribe as a device", {**subscribe, "topics": ["user", "desk.orders"], "device": "phone"}),
        ("subscribe and resume", {**subscribe, "topics": ["desk.a"], "resume": {"desk.a": [EPOCH, 4711]}}),
        ("acknowledge", {"op": "ack", "sub": 11, "seq": 4712}),
        ("publish", publish),
        ("publish once", {**publish, "data": None, "key": "7f3a"}),
    ]


def bus() -> list[tuple[str, str, Object]]:
    """Name, subject, and the map of one message."""
    return [
        ("of a client", "ev.desk.notices", {"type": "notice", "data": {"text": "hello"}, "sender": "alice"}),
        ("of nobody", "ev.user.alice%40example%2Ecom", {"type": "fill", "data": [1, None], "sender": None}),
    ]
