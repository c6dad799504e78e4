"""What is true: every book at every number, from the bytes on NATS alone, without any code of the gateway or the core."""

from __future__ import annotations

import zlib
from typing import Any

import msgpack

from deploy.follow import whole

Side = dict[int, int]


class TruthTap:
    """Feed it the messages of ``md.*.*.book`` and ``md.*.*.snap`` in their order."""

    def __init__(self) -> None:
        self.crcs: dict[tuple[str, int, int], int] = {}
        self.wholes: dict[tuple[str, int, int], int] = {}
        self._books: dict[str, tuple[int, int, Side, Side]] = {}

    def take(self, subject: str, payload: bytes) -> None:
        _, venue, symbol, stream = subject.split(".")
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(payload)
        for value in unpacker:
            if stream == "snap":
                self._snap(f"{venue}:{symbol}", value)
            else:
                self._update(f"{venue}:{symbol}", value)

    def _snap(self, name: str, value: list[Any]) -> None:
        _, epoch, seq, _, bids, asks = value
        known_epoch, known_seq, *_ = self._books.get(name, (0, -1))
        if (epoch, seq) > (known_epoch, known_seq):
            self._keep(name, epoch, seq, _side(bids), _side(asks))

    def _update(self, name: str, value: list[Any]) -> None:
        _, epoch, first, last, _, bids, asks = value
        if first == 1:  # the book at 0 is empty
            known: tuple[int, int, Side, Side] | None = (epoch, 0, {}, {})
        else:
            known = self._books.get(name)
        if known is None or (known[0], known[1] + 1) != (epoch, first):
            return
        _, _, mine_bids, mine_asks = known
        for side, flat in ((mine_bids, bids), (mine_asks, asks)):
            for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
                if lots:
                    side[ticks] = lots
                else:
                    side.pop(ticks, None)
        self._keep(name, epoch, last, mine_bids, mine_asks)

    def _keep(self, name: str, epoch: int, seq: int, bids: Side, asks: Side) -> None:
        self._books[name] = epoch, seq, bids, asks
        best_bids, best_asks = sorted(bids.items(), reverse=True), sorted(asks.items())
        parts = []
        for place in range(10):
            for side in (best_bids, best_asks):
                parts += map(str, side[place] if place < len(side) else ())
        self.crcs[name, epoch, seq] = zlib.crc32(":".join(parts).encode())
        flat = [[number for level in side for number in level] for side in (best_bids, best_asks)]
        self.wholes[name, epoch, seq] = whole(*flat)


def _side(flat: list[int]) -> Side:
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Compared:
    """How many of the numbers that clients were shown are as the truth has them."""

    def __init__(self, tap: TruthTap, clients: list[dict[str, Any]]) -> None:
        self.right = self.unknown = 0
        self.wrong: list[str] = []
        self.holes = self.snapshots = self.reconnects = self.recoveries = 0
        for client in clients:
            self.reconnects += client["reconnects"]
            self.recoveries += client["crc_errors"] + client["gaps"]
            for name, book in client["books"].items():
                self.holes += book["holes"]
                self.snapshots += book["snapshots"]
                for epoch, seq, crc in book["seen"]:
                    self._compare(f"{name} at {seq}", crc, tap.crcs.get((name, epoch, seq)))
                epoch, seq, found = book["last"]
                self._compare(f"the whole of {name} at {seq}", found, tap.wholes.get((name, epoch, seq)))

    def _compare(self, what: str, found: int, truth: int | None) -> None:
        if truth is None:
            self.unknown += 1
        elif truth == found:
            self.right += 1
        else:
            self.wrong.append(what)

    def __str__(self) -> str:
        return (
            f"{self.right} views right, {len(self.wrong)} wrong, {self.holes} numbers missing, {self.reconnects} reconnects, "
            f"{self.snapshots} snapshots after the first, {self.recoveries} recoveries"
        )
