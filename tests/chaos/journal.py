"""What writers truly published, handed from their processes to those that judge: one file for each writer's life.

Each record has the monotonic time, which is the same for all processes of a machine, and the instrument:
``[time, instrument, "begin", epoch, exponents]``, ``"update", epoch, seq, bids, asks``, ``"trade", epoch, seq, ticks, lots``, ``"word"``,
``"doubt"``, ``"settle"``.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack

from truth.model import Levels, Truth
from truth.reader import top

KEPT_S = 300.0
"""So long a truth is kept: nobody may be shown anything older."""


class Journal:
    """Written before what it tells can be on the bus."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, instrument: str, what: str, *values: Any) -> None:
        os.write(self._file, msgpack.packb([time.monotonic(), instrument, what, *values]))


class View(Truth):
    """A truth of the best levels alone."""

    def __init__(self, whole: Truth, depth: int) -> None:
        super().__init__(whole.name)
        self.depth = depth
        self.scales, self.words, self.trades, self.traded = (
            whole.scales,
            whole.words,
            whole.trades,
            whole.traded,
        )
        self._positions, self._times, self._doubts = whole._positions, whole._times, whole._doubts


class KnownTruth(Truth):
    """A truth that is read from a journal. Times are those of the journal."""

    def __init__(self, name: str, depths: Iterable[int] = ()) -> None:
        super().__init__(name)
        self.books: dict[int, Levels] = {}
        self.views = {depth: View(self, depth) for depth in depths}
        self._kept: deque[tuple[float, tuple[int, int]]] = deque()

    def at_depth(self, depth: int) -> Truth:
        return self.views[depth] if depth else self

    def take(self, at: float, what: str, *values: Any) -> None:
        self.clock = lambda: at
        match what:
            case "begin":
                epoch, exponents = values
                self.books[epoch] = Levels()
                self.begin(epoch, tuple(exponents))
                self._keep(at, (epoch, 0))
            case "update":
                epoch, seq, bids, asks = values
                self.books[epoch].apply(bids, asks)
                self.publish(epoch, seq, self.books[epoch])
                self._keep(at, (epoch, seq))
            case "trade":
                self.trade(*values)
            case "word":
                self.word()
            case "doubt":
                self.doubt()
            case "settle":
                self.settle()

    def _keep(self, at: float, position: tuple[int, int]) -> None:
        for view in self.views.values():
            best = Levels(*top(self.books[position[0]], view.depth))
            view.marks[position], view.bests[position] = best.mark, self.bests[position]
        self._kept.append((at, position))
        if len(self._kept) % 512 == 0:
            self._forget(at - KEPT_S)

    def _forget(self, before: float) -> None:
        while self._kept and self._kept[0][0] < before:
            _, position = self._kept.popleft()
            for truth in (self, *self.views.values()):
                truth.marks.pop(position, None)
                truth.bests.pop(position, None)
        old = sum(at < before for at in self._times)
        del self._times[:old], self._positions[:old]
        del self.words[: sum(at < before for at in self.words)]


class Journals:
    """All journals of a directory, read as they grow."""

    def __init__(self, directory: Path, depths: Iterable[int] = ()) -> None:
        self._directory, self._depths = directory, tuple(depths)
        self._read: dict[Path, int] = {}
        """How much of each file."""
        self._unpackers: dict[Path, msgpack.Unpacker] = {}
        self.truths: dict[str, KnownTruth] = {}

    def truth(self, name: str) -> KnownTruth:
        if name not in self.truths:
            self.truths[name] = KnownTruth(name, self._depths)
        return self.truths[name]

    def read(self) -> None:
        """Takes what was written since the last call."""
        for path in sorted(self._directory.glob("*.journal")):
            unpacker = self._unpackers.setdefault(path, msgpack.Unpacker())
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                unpacker.feed(file.read())
                self._read[path] = file.tell()
            for at, name, what, *values in unpacker:
                self.truth(name).take(at, what, *values)
