"""Floods of what goes beside the market data: events, maps and presence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from attack.attacks import attack, read_on, times
from attack.target import Target
from attack.wire import Attacker, Gone, Refused

CHUNK = 200
"""Commands of one message."""
POST: dict[str, Any] = {"op": "publish", "topic": "flood.a", "event": "x"}
PUT: dict[str, Any] = {"op": "put", "topic": "flood.a"}
EVENTS: dict[str, Any] = {"op": "subscribe", "channel": "events"}
_names = itertools.count()


def flood(target: Target, commands: Iterable[dict[str, Any]], count: int) -> None:
    """Sends so many of these commands on one session after another, as fast as they are taken, and reads what comes."""
    wanted = itertools.islice(itertools.cycle(commands), count)
    while chunk := list(itertools.islice(wanted, CHUNK)):
        with suppress(Gone, Refused, OSError), Attacker(target.port, "msgpack") as client:
            while chunk:
                client.say(*chunk)
                client.discard()
                chunk = list(itertools.islice(wanted, CHUNK))
            read_on(client, 0.2)


@attack("events of 1 kB published as fast as they can be sent")
def publish_flood(target: Target, size: float) -> None:
    flood(target, [POST | {"data": "x" * 1_000}], times(5_000, size))


@attack("the same, to a hundred topics, each of which has a budget of its own")
def publish_flood_of_topics(target: Target, size: float) -> None:
    flood(target, [POST | {"topic": f"flood.t{n}", "data": n} for n in range(100)], times(5_000, size))


@attack("events that are too large, 50 kB each")
def oversize_events(target: Target, size: float) -> None:
    for _ in range(times(200, size)):
        with suppress(Gone, Refused, OSError), Attacker(target.port, "msgpack") as client:
            client.say(POST | {"data": "x" * 50_000})
            read_on(client, 0.02)


@attack("subscriptions to a thousand topics of events, again and again")
def event_subscribes(target: Target, size: float) -> None:
    topics = [f"flood.s{n}" for n in range(100)]
    flood(
        target,
        [EVENTS | {"topics": topics}, {"op": "unsubscribe", "subs": list(range(1, 400))}],
        times(500, size),
    )


@attack("subscriptions to topics that nobody else knows, each once")
def event_names(target: Target, size: float) -> None:
    flood(
        target,
        [EVENTS | {"topics": [f"flood.n{next(_names)}"]} for _ in range(times(2_000, size))],
        times(2_000, size),
    )


@attack("changes of a map as fast as they can be sent")
def put_flood(target: Target, size: float) -> None:
    flood(target, [PUT | {"set": {f"k{n}": "x" * 200}} for n in range(100)], times(5_000, size))


@attack("compare-and-set of one key by everybody at once")
def cas_storm(target: Target, size: float) -> None:
    flood(
        target,
        [PUT | {"topic": "flood.bid", "set": {"bid": n}, "expect": {"bid": n}} for n in range(50)],
        times(5_000, size),
    )


@attack("changes of 256 keys that end within a millisecond")
def ttl_storm(target: Target, size: float) -> None:
    flood(
        target,
        [PUT | {"topic": "flood.ttl", "set": {str(n): 1 for n in range(256)}, "ttl_ms": 1}],
        times(300, size),
    )


@attack("sessions that join a topic and leave it")
def joins(target: Target, size: float) -> None:
    join = {
        "op": "subscribe",
        "channel": "presence",
        "topics": ["flood.hall"],
        "join": True,
        "info": "x" * 900,
        "who": True,
    }
    flood(target, [join, {"op": "unsubscribe", "subs": list(range(1, 50))}], times(2_000, size))
