"""The channels ``map`` and ``presence``: messages as (name, type, fields), answers and commands as (name, map), and what is on the bus."""

from __future__ import annotations

from typing import Any

from reference import Object

EPOCH = 1_753_000_000_000_000
TS = EPOCH + 5_000_000
MOST = 2**53 - 1
UINT32 = 2**32 - 1
LIVES = [{"lives": 3, "tags": ["a", "ü"], "at": 1.5, "ok": True, "none": None}, 118, "alice", TS]


def data() -> list[tuple[str, str, Object]]:
    place = {"sub": 9, "prev": None, "seq": 118, "page": 1, "pages": 1}
    delta = {**place, "prev": 118, "seq": 121}
    joined = {"9f2e7a0b1c2d3e4f": ["alice", TS, {"name": "Alice"}], "0011223344556677": ["", TS, None]}
    greatest = {"sub": UINT32, "prev": MOST, "seq": MOST, "page": 2, "pages": 128}
    return [
        ("an empty map", "map", {**place, "seq": 0, "set": {}, "delete": []}),
        ("a whole map", "map", {**place, "set": {"p1": LIVES, "p2": ["", 3, None, TS]}, "delete": []}),
        ("one page of several", "map", {**place, "pages": 2, "set": {"p1": LIVES}, "delete": []}),
        (
            "a key is set, another is gone",
            "map",
            {**delta, "set": {"p1": [7, 120, "bob", TS]}, "delete": ["p2"]},
        ),
        ("only gone", "map", {**delta, "set": {}, "delete": ["ключ", "p1"]}),
        ("greatest numbers", "map", {**greatest, "set": {"k": [-MOST, MOST, "a", MOST]}, "delete": []}),
        ("who is present", "presence", {**place, "count": 2, "set": joined, "delete": []}),
        ("one has left", "presence", {**delta, "count": 1, "set": {}, "delete": ["0011223344556677"]}),
        ("how many are present", "presence", {**delta, "count": 10_000}),
        ("nobody is present", "presence", {**place, "seq": 0, "count": 0}),
    ]


def messages() -> list[tuple[str, Object]]:
    head = {"type": "subscribed", "id": 1, "sub": 9, "channel": "map", "topic": "desk.auction"}
    place = {"epoch": EPOCH, "interval_ms": 100, "resumed": True}
    current = {"bid": [11, 121, "bob", TS], "ask": None}
    text = "what was expected of desk.auction does not hold; nothing was changed"
    conflict = {"type": "error", "id": 3, "code": "conflict", "message": text, "current": current}
    present = {**head, "channel": "presence", "topic": "user.alice", **place}
    return [
        ("subscribed to a map", {**head, **place, "prefix": "lot."}),
        ("subscribed to presence", {**present, "who": False, "join": True}),
        ("stored", {"type": "stored", "id": 2, "topic": "desk.auction", "seq": 121}),
        ("conflict", conflict),
    ]


def commands() -> list[tuple[str, Object]]:
    head = {"op": "subscribe", "id": 1}
    map_ = {**head, "channel": "map", "topics": ["desk.auction", "user"]}
    present = {**head, "channel": "presence", "topics": ["desk.auction"]}
    put = {"op": "put", "id": 2, "topic": "desk.auction"}
    return [
        ("subscribe to maps", map_),
        (
            "subscribe to a part of a map, resumed",
            {**map_, "prefix": "lot.", "interval_ms": 100, "resume": {"user": [EPOCH, 118]}},
        ),
        ("subscribe to presence", {**present, "join": True, "info": {"name": "Alice"}, "who": True}),
        ("how many are present", {**present, "interval_ms": 1000}),
        ("put", {**put, "set": {"bid": 10, "by": None}}),
        (
            "put, if nobody was faster",
            {
                **put,
                "set": {"bid": 11},
                "delete": ["old"],
                "expect": {"bid": 118},
                "ttl_ms": 60_000,
                "key": "7f",
            },
        ),
    ]


def bus() -> list[tuple[str, str, list[Any]]]:
    """Name, subject, and the value of a message."""
    change = {"set": {"bid": [11, 60_000]}, "delete": ["old"], "expect": {"bid": 118}, "by": "bob"}
    entry = [["alice", TS, {"name": "Alice"}, "gw1-1f2e3d4c5b6a"], None]
    whole = [1, 121, TS, 0, 1, [["bid", 11, 121, "bob", TS, 60_000]]]
    return [
        ("a change", "map.desk.auction", [change]),
        ("a key whose time is over", "map.desk.auction", [{"expire": {"bid": 121}}]),
        ("a whole map", "mapsnap.head.desk.auction", [whole]),
        ("a session joins", "presence.desk.auction", [{"set": {"9f2e7a0b1c2d3e4f": entry}}]),
        ("a gateway is dead", "presence.desk.auction", [{"drop_node": "gw1-1f2e3d4c5b6a"}]),
    ]
