"""What a client sends: (name, command), keys in the contract's order."""

from __future__ import annotations

from reference import Object

EPOCH = 1_753_000_000_000_000


def commands() -> list[tuple[str, Object]]:
    two = ["SIM:BTC-USD", "SIM:ETH-USD"]
    book = {"op": "subscribe", "id": 1, "channel": "book", "instruments": ["SIM:BTC-USD"]}
    return [
        ("subscribe, defaults", {"op": "subscribe", "channel": "book", "instruments": ["SIM:BTC-USD"]}),
        ("subscribe to a view", {**book, "depth": 20, "group": 100, "interval_ms": 250}),
        ("subscribe to the full book", {**book, "depth": 0, "group": 1, "interval_ms": 0}),
        (
            "subscribe to two, one resumed",
            {
                "op": "subscribe",
                "id": "s-2",
                "channel": "book",
                "instruments": two,
                "resume": {two[1]: [EPOCH, 1000]},
            },
        ),
        ("subscribe to trades", {"op": "subscribe", "id": 3, "channel": "trades", "instruments": two}),
        (
            "subscribe to a ticker",
            {"op": "subscribe", "id": 4, "channel": "ticker", "instruments": two, "interval_ms": 100},
        ),
        ("subscribe, names beyond ASCII", {**book, "id": '"\\', "instruments": ["SIM:東京/€"]}),
        ("subscribe to sixteen", {**book, "instruments": [f"SIM:S{i:02}-USD" for i in range(16)]}),
        ("unsubscribe", {"op": "unsubscribe", "id": 5, "subs": [7, 8]}),
        ("recover from a gap", {"op": "recover", "id": 6, "sub": 7, "from": 1002}),
        ("recover by a snapshot", {"op": "recover", "sub": 2**32 - 1, "from": 0}),
        ("auth", {"op": "auth", "id": 7, "token": "aaaa.bbbb.cccc"}),
        ("ping", {"op": "ping", "id": 8, "data": {"sent": 1_753_000_012_345_678}}),
        ("ping with nothing", {"op": "ping"}),
    ]
