"""Price alerts: the events of crossings as fields, commands as (name, map), what is on the bus, and which prices fire which alert."""

from __future__ import annotations

from typing import Any

from reference import Object

EPOCH = 1_753_000_000_000_000
TIME = 1_753_000_123_456_789
MOST = 2**53 - 1
REV = 118
SENDER = "mdstream alerts"
UP: Object = {"instrument": "SIM:BTC-USD", "on": "bid", "when": "above", "price": "64000.50"}
NOTED: Object = {**UP, "when": "crosses", "on": "last", "once": False, "note": "sell, Zoë"}
FIRED: Object = {"rev": REV, "count": 1, "ts": TIME, "price": "64000.60", "paused": False}


def crossing(key: str, alert: Object, crossed: str, seq: int, count: int = 1, **more: Any) -> Object:
    """The data of the event of a crossing."""
    named = {name: alert[name] for name in ("instrument", "on", "when", "price")}
    numbers = {"epoch": EPOCH, "seq": seq, "ts": TIME, "rev": REV, "count": count}
    note = {"note": alert["note"]} if alert.get("note") else {}
    return {
        "alert": key,
        **named,
        "crossed": crossed,
        **numbers,
        "id": f"{REV}.{EPOCH}.{seq}",
        **note,
        **more,
    }


def data() -> list[tuple[str, Object]]:
    """Events as clients get them."""
    place = {"sub": 11, "topic": "user.alice", "seq": 4712, "prev": 4709, "time": TIME, "event": "alert"}

    def told(data: Object, **more: Any) -> Object:
        return {**place, "data": data, "sender": SENDER, "redelivered": False, **more}

    great = {
        "epoch": MOST,
        "seq": MOST,
        "ts": MOST,
        "rev": MOST,
        "count": MOST,
        "id": f"{MOST}.{MOST}.{MOST}",
    }
    return [
        ("a crossing", told(crossing("up", UP, "64000.60", 512))),
        ("with a note, sent again", told(crossing("über 1", NOTED, "64000.60", 513, 2), redelivered=True)),
        ("numbers were missing", told(crossing("up", UP, "64000.60", 512, late=True))),
        ("the last before it is paused", told(crossing("up", NOTED, "63999.00", 600, 60, paused=True))),
        ("greatest numbers", told({**crossing("k", UP, "9" * 34, 1), **great}, seq=MOST, time=MOST)),
    ]


def commands() -> list[tuple[str, Object]]:
    put = {"op": "put", "id": 3, "topic": "alerts"}
    return [
        ("set an alert", {**put, "set": {"up": UP}}),
        (
            "set several, for an hour",
            {**put, "set": {"up": UP, "über 1": NOTED}, "ttl_ms": 3_600_000, "key": "7f"},
        ),
        ("set it unless it has changed", {**put, "set": {"up": UP}, "expect": {"up": REV}}),
        ("remove it", {**put, "delete": ["up"]}),
        ("what is set", {"op": "subscribe", "id": 4, "channel": "map", "topics": ["alerts"]}),
        ("what has fired", {"op": "subscribe", "id": 5, "channel": "events", "topics": ["user"]}),
    ]


def bus() -> list[tuple[str, str, Object]]:
    mark = {"set": {"up": [{**UP, "fired": FIRED}, None]}, "expect": {"up": REV}, "by": SENDER}
    told = {"type": "alert", "data": crossing("up", UP, "64000.60", 512), "sender": SENDER}
    return [
        ("an alert is set", "map.alerts.alice", {"set": {"up": [UP, None]}, "by": "alice"}),
        ("the map shows that it has fired", "map.alerts.alice", mark),
        ("it is removed", "map.alerts.alice", {"delete": ["up"], "expect": {"up": REV}, "by": "alice"}),
        ("the crossing is told", "ev.user.alice", told),
    ]


def crossings() -> list[tuple[str, Object, list[int], list[int]]]:
    """Name, alert, prices in ticks of 0.01 with the numbers 1, 2, …, the first of them that when the alert was set; and at which numbers
    it fires."""
    once = {"once": True}

    def at(when: str, price: str = "1.05", **more: Any) -> Object:
        return {"instrument": "SIM:A", "on": "bid", "when": when, "price": price, "once": False, **more}

    return [
        ("above, each time", at("above"), [104, 106, 107, 104, 106], [2, 5]),
        ("below, each time", at("below"), [106, 104, 103, 106, 104], [2, 5]),
        ("crosses, both ways", at("crosses"), [104, 106, 107, 104, 106], [2, 4, 5]),
        ("it is above when it is set", at("above"), [106, 107, 104, 106], [1, 4]),
        ("it is below when it is set", at("below"), [104, 106, 104], [1, 3]),
        ("crosses learns the side when it is set", at("crosses"), [106, 107, 104], [3]),
        ("equal changes nothing", at("crosses"), [104, 105, 104, 105, 106, 105, 106], [5]),
        ("it begins equal", at("crosses"), [105, 106, 104], [3]),
        ("once, and over", at("crosses", **once), [104, 106, 104, 106], [2]),
        ("between two ticks", at("above", "1.055"), [105, 106, 105], [2]),
        ("a price of more digits than ticks have", at("below", "1.050000"), [106, 105, 104], [3]),
        ("sixty in a minute, then it is paused", at("crosses"), [104, 106] * 40, list(range(2, 62))),
    ]
