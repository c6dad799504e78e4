"""A client's view, message by message: what it must hold after each, and when it must ask to recover."""

from __future__ import annotations

from typing import Any

from reference import DATA, Object, checksum, json_text, msgpack_hex

EPOCH = 1_753_000_000_000_000
TS = 1_753_000_012_345_678
SUB = 7


class View:
    """The plainest book: two dicts of ticks to lots."""

    def __init__(self) -> None:
        self.seq = 0
        self.sides: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}
        self.steps: list[Object] = []

    def flat(self, side: str) -> list[int]:
        levels = sorted(self.sides[side].items(), reverse=side == "bids")
        return [number for level in levels for number in level]

    def snapshot(
        self, name: str, seq: int, bids: list[int], asks: list[int], reason: str, epoch: int = EPOCH
    ) -> None:
        self.seq = seq
        self.sides = {"bids": {}, "asks": {}}
        self._change(bids, asks)
        place = {"sub": SUB, "epoch": epoch, "seq": seq, "ts": TS + seq}
        self._step(
            name,
            "snapshot",
            {**place, "bids": bids, "asks": asks, "crc": self.crc(), "reason": reason},
            "apply",
        )

    def delta(self, name: str, last: int, bids: list[int], asks: list[int]) -> None:
        first, self.seq = self.seq + 1, last
        self._change(bids, asks)
        self._step(name, "delta", self._delta(first, last, bids, asks, self.crc()), "apply")

    def gap(self, name: str, first: int, last: int, bids: list[int]) -> None:
        """Arrives, but cannot be applied."""
        self._step(name, "delta", self._delta(first, last, bids, [], 0), "gap")

    def mismatch(self, name: str, last: int, bids: list[int]) -> None:
        """Follows, but leads to another view than the server's."""
        first, self.seq = self.seq + 1, last
        self._change(bids, [])
        self._step(name, "delta", self._delta(first, last, bids, [], self.crc() ^ 1), "mismatch")

    def crc(self) -> int:
        return checksum(self.flat("bids"), self.flat("asks"))

    def _change(self, bids: list[int], asks: list[int]) -> None:
        for side, flat in (("bids", bids), ("asks", asks)):
            for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
                self.sides[side].pop(ticks, None)
                if lots:
                    self.sides[side][ticks] = lots

    def _delta(self, first: int, last: int, bids: list[int], asks: list[int], crc: int) -> Object:
        return {
            "sub": SUB,
            "first": first,
            "last": last,
            "ts": TS + last,
            "bids": bids,
            "asks": asks,
            "crc": crc,
        }

    def _step(self, name: str, kind: str, fields: Object, outcome: str) -> None:
        text, packed = DATA[kind](fields, -2, -8)
        then = {"seq": self.seq, "bids": self.flat("bids"), "asks": self.flat("asks")}
        if outcome == "mismatch":
            then = {"seq": self.seq}
        message = {"name": name, "type": kind, "json": json_text(text), "msgpack": msgpack_hex(packed)}
        self.steps.append({**message, "outcome": outcome, "then": then})


def full_book() -> list[Object]:
    view = View()
    view.snapshot("whole book", 100, [1000, 5, 999, 6], [1001, 7, 1003, 8], "subscribe")
    view.delta("one size changes", 101, [1000, 9], [])
    view.delta("a level comes between two, one goes", 102, [], [1002, 4, 1001, 0])
    view.delta("deleting what is not there does nothing", 103, [5, 0], [])
    view.delta("conflated over ten numbers", 113, [1000, 0, 999, 1, 998, 2], [1002, 0, 1003, 0])
    view.delta("no level, only numbers", 114, [], [])
    view.gap("a number is missing", 116, 116, [1000, 3])
    view.delta("recovered by a delta", 116, [1000, 3], [1004, 1])
    view.mismatch("the checksum does not match", 117, [997, 1])
    view.snapshot("recovered by a snapshot", 118, [1000, 3], [1004, 1], "recover")
    view.snapshot("a new epoch begins", 0, [], [], "epoch", EPOCH + 1_000_000)
    view.delta("its first update", 1, [-5, 1, -7, 2], [-4, 3, 0, 1])
    return view.steps


def cut_to_five() -> list[Object]:
    view = View()
    bids = [n for i in range(5) for n in (1000 - i, i + 1)]
    view.snapshot("five levels a side", 10, bids, [1001, 1], "subscribe")
    view.delta(
        "a better bid comes: the server deletes what leaves the view",
        11,
        [1002, 1, 996, 0],
        [1001, 0, 1003, 1],
    )
    view.delta("the best goes: the server adds what rises", 12, [1002, 0, 996, 5], [])
    return view.steps


def twelve_a_side() -> list[Object]:
    view = View()
    bids = [n for i in range(12) for n in (1000 - i, 10**i)]
    view.snapshot("levels beyond the tenth do not count", 1, bids, [1001, 1, 1002, 2], "subscribe")
    view.delta("a change of the twelfth leaves the checksum", 2, [989, 5], [])
    view.delta("the asks run out", 3, [], [1001, 0, 1002, 0])
    return view.steps


def views() -> list[dict[str, Any]]:
    stories = (("full book", 0, full_book), ("depth 5", 5, cut_to_five), ("twelve levels", 0, twelve_a_side))
    return [
        {"name": name, "sub": SUB, "depth": depth, "price_exp": -2, "size_exp": -8, "steps": story()}
        for name, depth, story in stories
    ]
