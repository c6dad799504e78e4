"""Price alerts: entries that are none, those of others, prices that one may not see, and far too many."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from attack.arena import Arena
from attack.rows import Row
from attack.table_commands import VALUE, both
from attack.table_maps import EVERYTHING, of
from attack.wire import Attacker

ALERT: dict[str, Any] = {"instrument": "SIM:A", "on": "bid", "when": "above", "price": "64000.50"}
_users = itertools.count(1)


def put(value: Any, topic: str = "alerts.alice") -> dict[str, Any]:
    return {"op": "put", "topic": topic, "set": {"k": value}}


COMMANDS: list[Row] = [
    row
    for name, value in (
        ("a number", 1),
        ("nothing", None),
        ("a list of it", [ALERT]),
        ("an empty map", {}),
        ("a field that there is not", ALERT | {"url": "http://evil"}),
        ("a price that is a number", ALERT | {"price": 64_000.5}),
        ("a price with an exponent", ALERT | {"price": "1e308"}),
        ("a price of 10,000 digits", ALERT | {"price": "9" * 10_000}),
        ("a price that is not a number", ALERT | {"price": "NaN"}),
        ("an instrument with wildcards", ALERT | {"instrument": "*.>"}),
        ("an instrument that is a list", ALERT | {"instrument": ["SIM:A"]}),
        ("a price of nothing", ALERT | {"on": "mid"}),
        ("a side that is a map", ALERT | {"on": {}}),
        ("a note of 10 KiB", ALERT | {"note": "x" * 10_240}),
        ("once that is a text", ALERT | {"once": "yes"}),
        (
            "one that has fired already",
            ALERT | {"fired": {"rev": 1, "count": 1, "ts": 1, "price": "1", "paused": False}},
        ),
    )
    for row in both(f"an alert that is {name}", put(value), VALUE)
] + both("alerts of nobody", put(ALERT, "alerts"), VALUE)


@dataclass(frozen=True, kw_only=True)
class ManyRow(Row):
    """Thousands of alerts of one user: 200 are stored, and the rest is refused."""

    format: str = "json"

    def play(self, arena: Arena) -> None:
        topic = f"alerts.many{next(_users)}"
        stored = refused = 0
        with Attacker(arena.gateway.port, self.format) as client:
            client.until("welcome")
            for number in range(50):
                alerts = {f"{number}.{n}": ALERT for n in range(200)}
                client.say({"op": "put", "topic": topic, "id": number, "set": alerts})
                message = client.until("stored", "error")
                stored += message["type"] == "stored"
                refused += message.get("code") in ("map_full", "rate_limited")
        assert (stored, refused) == (1, 49)


MANY: list[Row] = [ManyRow(name=f"10,000 alerts, {format}", format=format) for format in ("json", "msgpack")]

TICKER = {"channels": ["ticker"], "instruments": ["SIM:A"]}
ENTITLED: list[Row] = [
    *of("an alert of another user", put(ALERT, "alerts.victim"), EVERYTHING),
    *of(
        "an alert of another user, with a grant of all topics",
        put(ALERT, "alerts.victim"),
        EVERYTHING,
        {"channels": ["*"], "topics": ["*", "user.*"], "write": True, "publish": True},
    ),
    *of(
        "the alerts of another user",
        {"op": "subscribe", "channel": "map", "topics": ["alerts.victim"]},
        {"channels": ["*"], "topics": ["*"]},
    ),
    *of(
        "presence at one's own alerts",
        {"op": "subscribe", "channel": "presence", "topics": ["alerts"]},
        EVERYTHING,
    ),
    *of("an alert without a grant of its instrument", put(ALERT, "alerts")),
    *of(
        "an alert on an instrument that one may not see",
        put(ALERT | {"instrument": "SIM:B"}, "alerts"),
        TICKER,
    ),
    *of(
        "an alert on an instrument that there is not",
        put(ALERT | {"instrument": "NO:SUCH"}, "alerts"),
        TICKER,
    ),
    *of("an alert on a price that comes late", put(ALERT, "alerts"), TICKER | {"delay_ms": 60_000}),
    *of(
        "an alert on trades that one may not see",
        put(ALERT | {"on": "last"}, "alerts"),
        TICKER | {"channels": ["book"]},
    ),
]

OPEN: list[Row] = [*COMMANDS, *MANY]
