"""The contract's messages by the plainest means: the json, msgpack and zlib libraries, and nothing of mdstream."""

from __future__ import annotations

import json
import zlib
from decimal import Decimal
from typing import Any

import msgpack

Object = dict[str, Any]
SIDES = (None, "buy", "sell")


def json_text(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def msgpack_hex(*values: Any) -> str:
    """Several values stand back to back."""
    return b"".join(msgpack.packb(value) for value in values).hex()


def decimal_text(value: int, exp: int) -> str:
    """value × 10^exp with exactly -exp decimals; an integer if exp is 0 or more."""
    return str(value * 10**exp) if exp >= 0 else f"{Decimal(value).scaleb(exp):f}"


def checksum_text(bids: list[int], asks: list[int]) -> str:
    """The best ten levels of both sides, interleaved; a side that has run out is skipped."""
    numbers: list[int] = []
    for level in range(10):
        for side in (bids, asks):
            numbers += side[2 * level : 2 * level + 2]
    return ":".join(map(str, numbers))


def checksum(bids: list[int], asks: list[int]) -> int:
    return zlib.crc32(checksum_text(bids, asks).encode("ascii"))


# ---- data messages: the two forms of one set of fields (integers, flat levels)


def _pair(ticks: int, lots: int, price_exp: int, size_exp: int) -> list[str]:
    return [decimal_text(ticks, price_exp), decimal_text(lots, size_exp)]


def _pairs(flat: list[int], price_exp: int, size_exp: int) -> list[list[str]]:
    return [_pair(*flat[i : i + 2], price_exp, size_exp) for i in range(0, len(flat), 2)]


def delta(f: Object, price_exp: int, size_exp: int) -> tuple[Object, list[Any]]:
    sides = {side: _pairs(f[side], price_exp, size_exp) for side in ("bids", "asks")}
    packed = [1, f["sub"], f["first"], f["last"], f["ts"], f["bids"], f["asks"], f["crc"]]
    return {"type": "delta", **f, **sides}, packed


def snapshot(f: Object, price_exp: int, size_exp: int) -> tuple[Object, list[Any]]:
    sides = {side: _pairs(f[side], price_exp, size_exp) for side in ("bids", "asks")}
    packed = [2, f["sub"], f["epoch"], f["seq"], f["ts"], f["bids"], f["asks"], f["crc"], f["reason"]]
    return {"type": "snapshot", **f, **sides}, packed


def trades(f: Object, price_exp: int, size_exp: int) -> tuple[Object, list[Any]]:
    texts = [
        [seq, ts, *_pair(ticks, lots, price_exp, size_exp), SIDES[side], trade_id]
        for seq, ts, ticks, lots, side, trade_id in f["trades"]
    ]
    return {"type": "trades", **f, "trades": texts}, [
        3,
        f["sub"],
        f["epoch"],
        f["first"],
        f["last"],
        f["trades"],
    ]


def ticker(f: Object, price_exp: int, size_exp: int) -> tuple[Object, list[Any]]:
    names = ("bid", "ask", "last")
    texts = {name: f[name] and _pair(*f[name], price_exp, size_exp) for name in names}
    numbers = [number for name in names for number in f[name] or (None, None)]
    return {"type": "ticker", **f, **texts}, [4, f["sub"], f["epoch"], f["seq"], f["ts"], *numbers]


def heartbeat(f: Object, price_exp: int = 0, size_exp: int = 0) -> tuple[Object, list[Any]]:
    flat = [number for pair in f["seqs"] for number in pair]
    return {"type": "heartbeat", **f}, [5, f["time"], flat]


DATA = {"delta": delta, "snapshot": snapshot, "trades": trades, "ticker": ticker, "heartbeat": heartbeat}


# ---- boards


def _row(row: list[Any], scales: dict[int, tuple[int, int]]) -> list[Any]:
    index, state, *prices, volume, since = row
    price_exp, size_exp = scales[index]
    texts = [None if ticks is None else decimal_text(ticks, price_exp) for ticks in prices]
    return [index, state, *texts, None if volume is None else decimal_text(volume, size_exp), since]


def board_names(f: Object, _: dict[int, tuple[int, int]]) -> tuple[Object, list[Any]]:
    return {"type": "board_names", **f}, [7, f["sub"], f["names"]]


def board_snapshot(f: Object, scales: dict[int, tuple[int, int]]) -> tuple[Object, list[Any]]:
    text = {"type": "board_snapshot", **f, "rows": [_row(row, scales) for row in f["rows"]]}
    return text, [8, f["sub"], f["epoch"], f["seq"], f["ts"], f["rows"], f["gone"]]


def board(f: Object, scales: dict[int, tuple[int, int]]) -> tuple[Object, list[Any]]:
    text = {"type": "board", **f, "rows": [_row(row, scales) for row in f["rows"]]}
    return text, [9, f["sub"], f["first"], f["last"], f["ts"], f["rows"], f["gone"]]


BOARD = {"board_names": board_names, "board_snapshot": board_snapshot, "board": board}


# ---- candles


def _candle(row: list[int]) -> list[Any]:
    start, rev, *prices, volume, count, epoch, first, last, price_exp, size_exp, flags = row
    texts = [decimal_text(ticks, price_exp) for ticks in prices]
    numbers = [count, epoch, first, last, price_exp, size_exp, flags]
    return [start, rev, *texts, decimal_text(volume, size_exp), *numbers]


def event(f: Object) -> tuple[Object, list[Any]]:
    return {"type": "event", **f}, [11, *f.values()]


def candles(f: Object) -> tuple[Object, list[Any]]:
    text = {"type": "candles", **f, "rows": [_candle(row) for row in f["rows"]]}
    return text, [10, f["sub"], f["rows"], f["more"]]


# ---- maps


def keyed_map(f: Object) -> tuple[Object, list[Any]]:
    return {"type": "map", **f}, [12, *f.values()]


def presence(f: Object) -> tuple[Object, list[Any]]:
    fields = {"set": None, "delete": None} if "set" not in f else {}
    return {"type": "presence", **f}, [13, *f.values(), *fields.values()]


KEYED = {"map": keyed_map, "presence": presence}
