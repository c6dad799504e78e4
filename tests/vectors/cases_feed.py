"""What a feed publishes: (name, stream, value), and the subjects it publishes on."""

from __future__ import annotations

import re
from typing import Any

from cases_server import EPOCH, MOST, NEGATIVE, TS, UNSIGNED

FeedCase = tuple[str, str, Any]


def _levels(best: int, step: int, count: int) -> list[int]:
    return [number for i in range(count) for number in (best + i * step, 1_000 * (i + 1))]


def books() -> list[FeedCase]:
    many = [x for n in NEGATIVE for x in (n, -n)], [x for n in UNSIGNED if n for x in (n, n)]
    return [
        (
            "first update of an epoch",
            "book",
            [1, EPOCH, 1, 1, TS, [6_412_310, 51_200_000], [6_412_320, 7_500_000]],
        ),
        ("deletes one, changes another", "book", [1, EPOCH, 2, 2, TS, [6_412_310, 0, 6_412_300, 5], []]),
        ("spans several numbers", "book", [1, EPOCH, 3, 40, TS, [], [6_412_330, 1]]),
        ("no level at all", "book", [1, EPOCH, 41, 41, TS, [], []]),
        ("seven and eight levels", "book", [1, EPOCH, 42, 42, TS, _levels(100, -1, 7), _levels(101, 1, 8)]),
        ("every form of an integer", "book", [1, 1, 65_535, 65_536, 255, *many]),
        ("greatest numbers", "book", [1, MOST, MOST, MOST, MOST, [-MOST, MOST], [MOST, MOST]]),
    ]


def snaps() -> list[FeedCase]:
    return [
        ("empty book", "snap", [2, EPOCH, 0, TS, [], []]),
        ("both sides", "snap", [2, EPOCH, 1000, TS, _levels(6_412_310, -10, 20), _levels(6_412_320, 10, 20)]),
        ("negative prices", "snap", [2, EPOCH, 1001, TS, [-2, 5, -1_000, 5], [-1, 6, 0, 6]]),
    ]


def trades() -> list[FeedCase]:
    ids = [0, 128, MOST, -1, -129, "", "a-1", "x" * 31, "x" * 32, "x" * 126, "Straße 東京", '"\\\n']
    sides = ("the side is unknown", "the buyer took", "the seller took")
    cases: list[FeedCase] = [
        (name, "trade", [3, EPOCH, 1, TS, 6_412_310, 5, side, 1]) for side, name in enumerate(sides)
    ]
    cases += [
        (f"id {trade_id!r}", "trade", [3, EPOCH, 2, TS, -5, 100_000_000, 1, trade_id]) for trade_id in ids
    ]
    return cases


def others() -> list[FeedCase]:
    ref = {
        "epoch": EPOCH,
        "price_exp": -2,
        "size_exp": -8,
        "tick": 1,
        "lot": 1,
        "depth": 0,
        "name": "Bitcoin / US dollar",
    }
    least = {"epoch": 1, "price_exp": 0, "size_exp": 18}
    numbers = [1000, 40, TS - 350_000]
    states = ("trading", "halted", "closed", "feed_down")
    return [
        ("reference data", "ref", ref),
        (
            "reference data, more keys",
            "ref",
            {**ref, "name": "東京/€", "isin": "XX0000000000", "venue_tick": "0.01"},
        ),
        ("reference data, only what is required", "ref", least),
        ("reference data, a venue that gives 1,000 levels", "ref", {**ref, "depth": 1000}),
        *(
            (f"status {state}", "status", [5, EPOCH, TS, state, "why, in words", *numbers])
            for state in states
        ),
        ("status without a reason", "status", [5, EPOCH, TS, "trading", "", *numbers]),
        ("status before the first update", "status", [5, EPOCH, TS, "trading", "", 0, 0, TS]),
        ("status, greatest numbers", "status", [5, MOST, MOST, "closed", "x" * 1024, MOST, MOST, MOST]),
        *(
            (f"status {state}, short form", "status", [5, EPOCH, TS, state, "why, in words"])
            for state in states
        ),
    ]


def feed() -> list[FeedCase]:
    return [*books(), *snaps(), *trades(), *others()]


def batches() -> list[tuple[str, str, list[Any]]]:
    """Several values in one payload."""
    updates = [[1, EPOCH, n, n, TS + n, [6_412_310, n], []] for n in (1, 2, 3)]
    two = [[3, EPOCH, n, TS, 6_412_310, 5, 1, f"t{n}"] for n in (1, 2)]
    return [("three updates", "book", updates), ("two trades", "trade", two)]


def _token(text: str) -> str:
    return re.sub(
        r"[\x00-\x20.*>%\x7f-\x9f]", lambda found: "".join(f"%{b:02X}" for b in found[0].encode()), text
    )


def subjects() -> list[dict[str, str]]:
    pairs = [
        ("SIM", "BTC-USD"), ("BINANCE", "BTCUSDT"), ("A.B", "BRK.B"), ("SIM", "a b"), ("SIM", "*"), ("SIM", ">"),
        ("SIM", "100%"), ("SIM", "%2E"), ("SIM", "東京/€"), ("SIM", "\x01\x7f"),
    ]  # fmt: skip
    streams = ("book", "trade", "snap", "ref", "status")
    return [
        {
            "venue": venue,
            "symbol": symbol,
            "stream": stream,
            "subject": f"md.{_token(venue)}.{_token(symbol)}.{stream}",
        }
        for (venue, symbol), stream in zip(pairs, streams * 2, strict=True)
    ]
