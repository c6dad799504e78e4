"""What the clients of a load test do: where they connect, and what they subscribe to. The same seed gives the same plan."""

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
    """Clients that behave in the same way."""

    connections: int
    instruments: int = 1
    """How many each client subscribes to; 0: it only connects."""
    channel: str = "book"
    depth: int = 0
    group: int = 1
    interval_ms: int = 0
    choice: str = "even"
    """Which instruments: ``even`` takes them in turn, ``zipf`` draws the plan's first ones more often."""
    resume: bool = True
    """Whether it sends ``resume`` after a reconnect."""
    verify: int = 0
    """How many of its clients keep their books and compare the crc after every message (a few kB each, and CPU)."""
    pause_s: float = 0.0
    """A slow reader: it pauses for so long, then reads for ``read_s``, and so on; 0: it always reads."""
    read_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The clients of one process."""

    gateways: Sequence[tuple[str, int]]
    """IPv4 addresses and ports, taken in turn; a client that reconnects goes to the next one."""
    instruments: Sequence[str]
    groups: Sequence[Group]
    format: str = "msgpack"
    path: str = "/v1/stream"
    headers: Sequence[str] = ()
    """More lines of the upgrade request, such as ``Authorization: Bearer …``."""
    tokens: Sequence[str] = ()
    """A bearer token for each client; empty: none."""
    tls: bool = False
    ca: str = ""
    """A file with the certificates that TLS trusts; empty: those that the system trusts."""
    floor: bool = False
    """The server is the floor: it keeps no books, so the clients do not compare crc and do not recover."""
    recover: bool = True
    """Whether a client sends ``recover`` after a gap, as it must; the gap is a fault in either case."""
    returns: bool = True
    """Whether a client that was sent away, or lost its connection, connects again."""
    in_flight: int = 256
    """Most connections that may be opening at a time."""
    of_an_address: int = 0
    """Connections, which need a port each, from one of the loopback addresses 127.0.0.1 …; 0: 25,000."""
    seed: int = 1
    offset: int = 0
    """Clients of the same test in earlier processes; the instruments continue after theirs."""

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
        """For each client its group and its instruments, by index. The groups are interleaved, so that each part is a fair sample."""
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
        raise BenchError(f"plan: read_s is {group.read_s}; it must be positive for a slow reader")


def _interleave(counts: Sequence[int]) -> list[int]:
    """Indices in which each has its share of every part: [3, 1] gives 0 0 1 0."""
    places = [((i + 0.5) / count, index) for index, count in enumerate(counts) for i in range(count)]
    return [index for _, index in sorted(places)]


def _draw(count: int, weights: Sequence[float], picks: random.Random) -> list[int]:
    """Draws ``count`` different indices; a draw that repeats one takes the next free index."""
    chosen: dict[int, None] = {}
    for _ in range(count):
        index = min(bisect(weights, picks.random() * weights[-1]), len(weights) - 1)
        while index in chosen:
            index = (index + 1) % len(weights)
        chosen[index] = None
    return list(chosen)
