"""What the clients of a load test do: who connects where, and subscribes to what. Plain data; the same seed gives the same plan."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from mdstream.errors import BenchError

CHANNELS: Final = ("book", "trades", "ticker")
FORMATS: Final = ("json", "msgpack")
CHOICES: Final = ("even", "zipf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Clients that do the same."""

    connections: int
    instruments: int = 1
    """How many each client subscribes to; 0 makes it idle: connected and welcomed, nothing more."""
    channel: str = "book"
    depth: int = 0
    group: int = 1
    interval_ms: int = 0
    choice: str = "even"
    """Which instruments: ``even`` deals them out one after the other, ``zipf`` draws popular ones (the plan's first) more often."""
    resume: bool = True
    """Whether it asks to go on where it was when it comes back."""
    verify: int = 0
    """So many of its clients keep their books and compare the crc after every message (a few kB each, and CPU)."""
    pause_s: float = 0.0
    """A slow reader: it reads nothing for so long, then goes on for ``read_s``, and again; 0: it always reads."""
    read_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The clients of one process."""

    gateways: Sequence[tuple[str, int]]
    """IPv4 addresses and ports, taken in turn; a client that comes back goes to the next one."""
    instruments: Sequence[str]
    groups: Sequence[Group]
    format: str = "msgpack"
    path: str = "/v1/stream"
    headers: Sequence[str] = ()
    """More lines of the upgrade request, such as ``Authorization: Bearer …``."""
    floor: bool = False
    """The server is the floor: it keeps no books, so crc is not compared and nothing is asked for again."""
    recover: bool = True
    """Whether a gap (a fault all the same) is mended by ``recover``, as a client must."""
    in_flight: int = 256
    """Connections that may be on their way to ready at a time."""
    sources: int = 0
    """Loopback addresses 127.0.0.1 … to connect from; 0: as many as the ports of one (25,000) demand."""
    seed: int = 1
    offset: int = 0
    """Clients of the same test that live in processes before this one: the instruments are dealt on from there."""

    def __post_init__(self) -> None:
        if not self.gateways or not self.groups:
            raise BenchError("plan: at least one gateway and one group of clients are needed")
        if self.format not in FORMATS:
            raise BenchError(f"plan: format is {self.format!r}; it must be one of {', '.join(FORMATS)}")
        for group in self.groups:
            _check(group, len(self.instruments))

    @property
    def connections(self) -> int:
        return sum(group.connections for group in self.groups)

    def chosen(self) -> list[tuple[int, list[int]]]:
        """For each client its group and its instruments, by index; the groups interleaved, so that any stretch is a fair sample."""
        picks = random.Random(f"{self.seed}/{self.offset}")
        weights = list(accumulate(1 / (rank + 1) for rank in range(len(self.instruments))))
        dealt = [self.offset] * len(self.groups)
        clients = []
        for index in _interleave([group.connections for group in self.groups]):
            group = self.groups[index]
            if group.choice == "zipf":
                mine = _draw(group.instruments, weights, picks)
            else:
                mine = [
                    (dealt[index] * group.instruments + i) % len(weights) for i in range(group.instruments)
                ]
            dealt[index] += 1
            clients.append((index, mine))
        return clients


def _check(group: Group, instruments: int) -> None:
    for name, value, allowed in (("channel", group.channel, CHANNELS), ("choice", group.choice, CHOICES)):
        if value not in allowed:
            raise BenchError(f"plan: {name} is {value!r}; it must be one of {', '.join(allowed)}")
    for name in ("connections", "instruments", "depth", "interval_ms", "verify", "pause_s"):
        if getattr(group, name) < 0:
            raise BenchError(f"plan: {name} is {getattr(group, name)}; it must not be negative")
    if group.instruments > instruments:
        raise BenchError(
            f"plan: clients want {group.instruments} instruments each, the plan has {instruments}"
        )
    if group.pause_s and group.read_s <= 0:
        raise BenchError(f"plan: read_s is {group.read_s}; a slow reader must read at times")


def _interleave(counts: Sequence[int]) -> list[int]:
    """Indices so that after any number of them each has had its share: [3, 1] gives 0 0 1 0."""
    places = [((i + 0.5) / count, index) for index, count in enumerate(counts) for i in range(count)]
    return [index for _, index in sorted(places)]


def _draw(count: int, weights: Sequence[float], picks: random.Random) -> list[int]:
    """So many different ones; each draw that repeats one takes the next that is free."""
    chosen: dict[int, None] = {}
    for _ in range(count):
        index = min(bisect(weights, picks.random() * weights[-1]), len(weights) - 1)
        while index in chosen:
            index = (index + 1) % len(weights)
        chosen[index] = None
    return list(chosen)
