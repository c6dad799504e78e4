"""Channels of many instruments: boards as (name, type, fields, scales), lists and answers as (name, map), commands as (name, map).

The row of a board, in integers: index, state, bid, ask, last, open, high, low, volume, since. ``scales`` has the exponents of each index.
"""

from __future__ import annotations

from typing import Any

from reference import Object

EPOCH = 1_753_000_000_000_000
TS = 1_753_000_012_345_678
DAY_AGO = TS - 86_400_000_000
MOST = 2**53 - 1
UINT32 = 2**32 - 1

Row = list[Any]
BoardCase = tuple[str, str, Object, dict[int, tuple[int, int]]]

BTC: Row = [
    0,
    1,
    6_412_310,
    6_412_320,
    6_412_315,
    6_390_000,
    6_500_000,
    6_380_005,
    123_456_700_000_000,
    DAY_AGO,
]
ETH: Row = [1, 1, 345_001, 345_002, None, None, None, None, None, 0]
SPREAD: Row = [2, 3, -25, -20, -22, -30, -15, -35, 1_200, TS]
_SCALES = {0: (-2, -8), 1: (-2, -8), 2: (-1, 0)}
_NAMES = [[0, "SIM:BTC-USD", -2, -8], [1, "SIM:ETH-USD", -2, -8], [2, "SIM:東京/€", -1, 0]]


def _snapshot(**fields: Any) -> Object:
    return {"sub": 8, "epoch": EPOCH, "seq": 1, "ts": TS, "rows": [], "gone": []} | fields


def _changed(**fields: Any) -> Object:
    return {"sub": 8, "first": 2, "last": 2, "ts": TS, "rows": [], "gone": []} | fields


def boards() -> list[BoardCase]:
    states = [[i, i, None, None, None, None, None, None, None, 0] for i in range(6)]
    return [
        ("three names", "board_names", {"sub": 8, "names": _NAMES}, {}),
        (
            "one name, greatest numbers",
            "board_names",
            {"sub": UINT32, "names": [[65_536, "SIM:A", -18, 18]]},
            {},
        ),
        ("a snapshot", "board_snapshot", _snapshot(rows=[BTC, ETH, SPREAD]), _SCALES),
        ("a snapshot of nothing", "board_snapshot", _snapshot(), {}),
        (
            "a snapshot at the greatest numbers",
            "board_snapshot",
            _snapshot(sub=UINT32, epoch=MOST, seq=MOST),
            {},
        ),
        ("each state", "board_snapshot", _snapshot(rows=states), dict.fromkeys(range(6), (-2, -8))),
        ("one row changed", "board", _changed(rows=[BTC]), _SCALES),
        ("conflated over many numbers", "board", _changed(last=90, rows=[SPREAD, BTC]), _SCALES),
        ("a row is gone", "board", _changed(first=91, last=91, gone=[1]), {}),
        (
            "a new scale comes under a new index",
            "board",
            _changed(
                first=92, last=92, rows=[[3, 2, 64_123_100, None, None, None, None, None, None, 0]], gone=[0]
            ),
            {3: (-3, -8)},
        ),
        ("nothing but numbers", "board", _changed(first=93, last=95), {}),
    ]


_REF = {"tick": 1, "lot": 1, "name": "Bitcoin / US dollar", "depth": 0}


def _listed(instrument: str, state: str, code: str | None, since: int, **fields: Any) -> Object:
    return {
        "instrument": instrument,
        "price_exp": -2,
        "size_exp": -8,
        "ref": _REF,
        "epoch": EPOCH,
        "state": state,
        "code": code,
        "since": since,
    } | fields


def messages() -> list[tuple[str, Object]]:
    live = _listed("SIM:BTC-USD", "live", None, TS)
    stale = _listed("SIM:ETH-USD", "stale", "feed_down", TS)
    unknown = _listed("SIM:東京/€", "unknown", None, 0, price_exp=0, ref={**_REF, "name": "", "base": "JPY"})
    head = {"type": "instruments", "sub": 7}
    subscribed = {"type": "subscribed", "id": 1, "sub": 7, "channel": "instruments", "instruments": ["SIM:*"]}
    answer = {**subscribed, "interval_ms": 1000, "resumed": False}
    return [
        ("subscribed to instruments", answer),
        ("subscribed to a board", {**answer, "sub": 8, "channel": "board", "interval_ms": 500}),
        ("subscribed to a board, resumed", {**answer, "sub": 8, "channel": "board", "resumed": True}),
        ("a page of instruments", {**head, "page": 1, "more": True, "rows": [live, stale]}),
        ("the last page", {**head, "page": 2, "more": False, "rows": [unknown], "seq": 1}),
        ("no instruments", {**head, "page": 1, "more": False, "rows": [], "seq": 1}),
        (
            "instruments changed",
            {
                "type": "instruments_changed",
                "sub": 7,
                "rows": [stale],
                "gone": ["SIM:OLD"],
                "first": 2,
                "last": 2,
            },
        ),
    ]


def commands() -> list[tuple[str, Object]]:
    board = {"op": "subscribe", "id": 2, "channel": "board", "instruments": ["SIM:*", "BINANCE:BTC*"]}
    return [
        (
            "subscribe to all instruments",
            {"op": "subscribe", "id": 1, "channel": "instruments", "instruments": ["*"]},
        ),
        ("subscribe to a board", {**board, "interval_ms": 500}),
        ("resume a board", {**board, "resume": [EPOCH, 90]}),
        ("recover a board", {"op": "recover", "id": 3, "sub": 8, "from": 91}),
        (
            "a book in groups of so many digits",
            {
                "op": "subscribe",
                "id": 4,
                "channel": "book",
                "instruments": ["SIM:BTC-USD"],
                "depth": 20,
                "group_digits": 4,
                "interval_ms": 20,
            },
        ),
    ]
