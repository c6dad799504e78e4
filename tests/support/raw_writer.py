"""A writer that packs the values of the contract itself, as one in another language does, and can break it in one way each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import msgpack

STEP_S = 0.05

Alter = Callable[["RawWriter", str, Any], list[Any]]


class RawWriter:
    """``step`` every ``STEP_S`` gives the messages that are due: an update each time, trades, snaps, signs of life in between."""

    def __init__(self, prefix: str, fault: str = "") -> None:
        """``prefix`` is the subject without the stream; ``fault`` a key of ``FAULTS``."""
        self.prefix = prefix
        self.fault = fault
        self.epoch = self.started_us = self.seq = self.trades = self.steps = 0
        self.announcement = ["snap", "ref", "status"] if fault == "order" else ["ref", "status", "snap"]
        self._alter: Alter = FAULTS[fault][1] if fault else lambda writer, stream, value: [value]
        self._out: list[tuple[str, bytes]] = []

    def step(self, now_us: int) -> list[tuple[str, bytes]]:
        if self.steps == 0:
            self._begin(now_us)
            for stream in self.announcement:
                self._send(stream, now_us)
        self.seq += 1
        self._send("book", now_us)
        if self.steps % 10 == 0:
            self.trades += 1
            self._send("trade", now_us)
        for stream, every in (("snap", 40), ("status", 100), ("ref", 100)):
            if self.steps and self.steps % every == 0:
                self._send(stream, now_us)
        self.steps += 1
        out, self._out = self._out, []
        return out

    def _begin(self, now_us: int) -> None:
        self.epoch = self.started_us = now_us
        if self.fault == "epoch in ms":
            self.epoch //= 1000
        elif self.fault == "epoch two hours ahead":
            self.epoch += 7_200_000_000

    def _send(self, stream: str, now_us: int) -> None:
        for value in self._alter(self, stream, self._value(stream, now_us)):
            payload = value if isinstance(value, bytes) else msgpack.packb(value)
            self._out.append((f"{self.prefix}.{stream}", payload))

    def _value(self, stream: str, now_us: int) -> Any:
        bids, asks = [6412310, self.seq, 6412300, 100], [6412320, 125]
        if stream == "ref":
            return {
                "epoch": self.epoch,
                "price_exp": -2,
                "size_exp": -8,
                "tick": 1,
                "lot": 1,
                "name": "Bitcoin",
            }
        if stream == "status":
            return [5, self.epoch, now_us, "trading", "", self.seq, self.trades, now_us]
        if stream == "snap":
            return [2, self.epoch, self.seq, now_us, *((bids, asks) if self.seq else ([], []))]
        if stream == "trade":
            return [3, self.epoch, self.trades, now_us, 6412320, 10, 1, self.trades]
        return [
            1,
            self.epoch,
            self.seq,
            self.seq,
            now_us,
            *((bids, asks) if self.seq == 1 else (bids[:2], [])),
        ]


def only(stream: str, change: Callable[[RawWriter, Any], Any]) -> Alter:
    """Changes the values of one stream; a change that gives None leaves the value out."""

    def alter(writer: RawWriter, of: str, value: Any) -> list[Any]:
        changed = change(writer, value) if of == stream else value
        return [] if changed is None else [changed]

    return alter


def field(at: int | str, change: Callable[[Any], Any]) -> Callable[[RawWriter, Any], Any]:
    """Changes one field."""

    def changed(_: RawWriter, value: Any) -> Any:
        value[at] = change(value[at])
        return value

    return changed


def update_30(change: Callable[[Any], Any]) -> Alter:
    """Changes the update with number 30 alone."""
    return only("book", lambda writer, value: change(value) if value[2] == 30 else value)


def later(change: Callable[[Any], Any]) -> Callable[[RawWriter, Any], Any]:
    """Changes what is not part of the announcement."""
    return lambda writer, value: change(value) if writer.steps else value


def as_is(writer: RawWriter, stream: str, value: Any) -> list[Any]:
    return [value]


def twice(writer: RawWriter, stream: str, value: Any) -> list[Any]:
    """Number 29 again, as a second writer would use it."""
    if stream != "book" or value[2] != 30:
        return [value]
    return [[*value[:2], 29, 29, value[4], [6412300, 7], []], value]


def lagging(writer: RawWriter, stream: str, value: Any) -> list[Any]:
    """Each snapshot is the right one of 10 s ago."""
    if stream != "snap":
        return [value]
    seq = max(value[2] - round(10 / STEP_S), 1)
    return (
        [[*value[:2], seq, value[3], [6412310, seq, 6412300, 100], [6412320, 125]]] if value[2] else [value]
    )


def restarted(writer: RawWriter, stream: str, value: Any) -> list[Any]:
    """At step 100 it begins again at number 1 in the same epoch, with another book."""
    if writer.steps == 100 and stream == "book":
        writer.seq = 1
        value = [*value[:2], 1, 1, value[4], [6412310, 1, 6412300, 100], [6412320, 125]]
    at = {"book": 5, "snap": 4}.get(stream)
    if writer.steps >= 100 and at is not None:
        value[at][1] += 7
    return [value]


def twice_in_map(value: dict[str, Any]) -> bytes:
    return bytes([0x80 + len(value) + 1]) + b"".join(
        msgpack.packb(item) for pair in (*value.items(), ("lot", 1)) for item in pair
    )


def in_pairs(flat: list[int]) -> list[list[int]]:
    return [flat[at : at + 2] for at in range(0, len(flat), 2)]


def smaller_epoch(writer: RawWriter, stream: str, value: Any) -> list[Any]:
    if writer.steps > 30:
        value["epoch" if stream == "ref" else 1] -= 1
    return [value]


def without_epoch(_: RawWriter, value: Any) -> Any:
    return {key: item for key, item in value.items() if key != "epoch"}


def snap_plus_one(_: RawWriter, value: Any) -> Any:
    return [*value[:4], [value[4][0], value[4][1] + 1, *value[4][2:]], value[5]] if value[2] else value


FAULTS: dict[str, tuple[str, Alter]] = {
    # announcement and scale
    "order": ("order", as_is),
    "no snap": ("order", only("snap", lambda writer, value: None)),
    "ref without epoch": ("ref_epoch", only("ref", without_epoch)),
    "other scale": ("scale", only("ref", later(lambda value: value | {"price_exp": -3}))),
    # numbering
    "a number left out": ("numbering", update_30(lambda value: None)),
    "begins at 2": ("numbering", only("book", lambda writer, value: value if value[2] > 1 else None)),
    "last before first": ("numbering", update_30(lambda value: [*value[:2], 30, 29, *value[4:]])),
    "a number twice": ("conflict", twice),
    "smaller epoch": ("epoch_smaller", smaller_epoch),
    "epoch in ms": ("epoch_unit", as_is),
    "epoch two hours ahead": ("epoch_ahead", as_is),
    # snapshots and books
    "snap late": ("snap_late", only("snap", later(lambda value: None))),
    "snap differs": ("snap_differs", only("snap", snap_plus_one)),
    "snap ahead": ("snap_ahead", only("snap", later(lambda value: [*value[:2], value[2] + 1, *value[3:]]))),
    "snap of 10 s ago": ("snap_late", lagging),
    "snap with size 0": ("snap_order", only("snap", later(lambda v: [*v[:4], [*v[4], 6412200, 0], v[5]]))),
    "snap of the best alone": ("snap_differs", only("snap", later(lambda v: [*v[:4], v[4][:2], v[5]]))),
    "snap worst first": ("snap_order", only("snap", later(lambda v: [*v[:4], [*v[4][2:], *v[4][:2]], v[5]]))),
    "locked": ("crossed", update_30(lambda value: [*value[:5], [], [6412310, 5]])),
    "negative size": ("negative_size", update_30(lambda value: [*value[:5], [6412310, -5], []])),
    "level twice": ("level_twice", update_30(lambda value: [*value[:5], [6412310, 1, 6412310, 30], []])),
    # bounds and encodings
    "long name": ("bounds", only("ref", field("name", lambda name: "x" * 1025))),
    "large ref": ("bounds", only("ref", lambda writer, value: value | {"more": "x" * 70_000})),
    "long reason": ("bounds", only("status", field(4, lambda reason: "x" * 1025))),
    "number beyond 2^53": ("bounds", only("trade", field(4, lambda ticks: 2**53))),
    "float": ("float", only("book", field(4, float))),
    "bin": ("binary", only("status", field(3, str.encode))),
    "number as text": ("type", only("trade", field(5, str))),
    "wrong tag": ("tag", only("trade", field(0, lambda tag: 1))),
    "a field too few": ("fields", only("trade", lambda writer, value: value[:7])),
    "other state": ("state", only("status", field(3, lambda state: "open"))),
    "json": ("json", only("book", lambda writer, value: json.dumps(value).encode())),
    "levels in pairs": ("levels", only("book", field(5, in_pairs))),
    "levels without sizes": ("levels", update_30(lambda value: [*value[:5], [6412310], []])),
    "compressed": ("compressed", only("book", lambda writer, value: gzip.compress(msgpack.packb(value)))),
    "bin in ref": ("binary", only("ref", lambda writer, value: value | {"isin": b"x"})),
    "no state": ("type", only("status", field(3, lambda state: None))),
    "key twice": ("fields", only("ref", lambda writer, value: twice_in_map(value))),
    "large trade id": ("trade_id", only("trade", field(7, lambda number: 2**60))),
    "ts in ms": ("ts_unit", only("book", field(4, lambda ts: ts // 1000))),
    # signs of life
    "status late": ("status_late", only("status", later(lambda value: None))),
    "five values": ("status_short", only("status", lambda writer, value: value[:5])),
    "heard in ms": ("ts_unit", only("status", field(7, lambda heard: heard // 1000))),
    "ts of events stands still": ("ts_stuck", only("book", lambda w, v: [*v[:4], w.started_us, *v[5:]])),
    "heard after ts": ("heard_ahead", only("status", field(7, lambda heard: heard + 1000))),
    "heard stuck": ("heard_stuck", only("status", lambda writer, value: [*value[:7], writer.started_us])),
    "ts stuck": ("ts_stuck", only("status", lambda w, v: [*v[:2], w.started_us, *v[3:7], w.started_us])),
    "status ahead": ("status_ahead", only("status", field(5, lambda seq: seq + 5))),
    "status behind": ("status_behind", only("status", field(5, lambda seq: 0))),
}
"""Fault → the rule that it breaks, and how."""
