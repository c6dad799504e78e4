"""The channel ``candles``: messages as (name, fields), answers as (name, map), commands as (name, map), and what is on the bus.

A candle, in integers: start in seconds, rev, open, high, low, close, volume, count, epoch, first_seq, last_seq, price_exp, size_exp, flags.
"""

from __future__ import annotations

from typing import Any

from reference import Object

EPOCH = 1_753_000_000_000_000
START = 1_753_000_020
MOST = 2**53 - 1
UINT32 = 2**32 - 1
CLOSED, INCOMPLETE, SATURATED = 1, 2, 4

Candle = list[int]


def _candle(start: int = START, rev: int = 3, flags: int = 0, scale: tuple[int, int] = (-2, -8)) -> Candle:
    prices = [6_412_310, 6_412_990, 6_412_005, 6_412_320]
    return [start, rev, *prices, 1_234_500_000, 17, EPOCH, 101, 117, *scale, flags]


def data() -> list[tuple[str, Object]]:
    closed = [_candle(START - 60 * n, 5, CLOSED) for n in (3, 2, 1)]
    negative = [START, 1, -25, -20, -30, -22, 7, 2, EPOCH, 1, 2, -1, 0, INCOMPLETE]
    greatest = [MOST, MOST, MOST, MOST, -MOST, -MOST, MOST, MOST, MOST, MOST, MOST, -18, 18, 7]
    return [
        ("the candle of now", {"sub": 9, "rows": [_candle()], "more": False}),
        ("no candle at all", {"sub": 9, "rows": [], "more": False}),
        ("history that goes on", {"sub": 9, "rows": closed, "more": True}),
        ("the end of the history", {"sub": 9, "rows": [closed[2], _candle()], "more": False}),
        ("a late trade corrects", {"sub": 9, "rows": [_candle(START - 120, 6, CLOSED)], "more": False}),
        ("incomplete, negative prices", {"sub": 9, "rows": [negative], "more": False}),
        ("another scale", {"sub": 9, "rows": [_candle(scale=(-3, 0)), _candle(scale=(0, 2))], "more": False}),
        ("greatest numbers", {"sub": UINT32, "rows": [greatest], "more": False}),
    ]


def messages() -> list[tuple[str, Object]]:
    ref = {"tick": 1, "lot": 1, "name": "Bitcoin / US dollar", "depth": 0}
    head = {"type": "subscribed", "id": 1, "sub": 9, "channel": "candles", "instrument": "SIM:BTC-USD"}
    scale = {"price_exp": -2, "size_exp": -8, "ref": ref, "resumed": False}
    return [("subscribed to candles", {**head, "span": "1m", **scale})]


def commands() -> list[tuple[str, Object]]:
    candles = {"op": "subscribe", "id": 1, "channel": "candles", "instruments": ["SIM:BTC-USD"]}
    return [
        ("subscribe to candles", {**candles, "span": "1m"}),
        ("subscribe to candles with history", {**candles, "span": "1d", "history": 1000}),
    ]


def bus() -> list[tuple[str, str, list[Any]]]:
    """Name, subject, and the values of one message."""
    stats: list[Any] = [6, EPOCH, START * 1_000_000 + 5, 6_390_000, 6_500_000, 6_380_005, 123_456_700, 9_000]
    stats += [(START - 86_340) * 1_000_000, -2, -8, 0, 117, START * 1_000_000 + 1]
    newest = [_candle() for _ in range(6)]
    nothing: list[Any] = [6, EPOCH, START * 1_000_000, None, None, None, 0, 0, 0, -2, -8, 0, 117, 1]
    closed = _candle(START - 60, 5, CLOSED)
    return [
        ("closed candles", "candle.SIM.BTC-USD.1m", [closed, _candle(START, 9, CLOSED)]),
        ("statistics", "stats.SIM.BTC-USD", [[*stats, newest, [[1, *closed]]]]),
        ("a day without a trade", "stats.SIM.A%2EB", [[*nothing, [*newest[:5], None], []]]),
    ]
