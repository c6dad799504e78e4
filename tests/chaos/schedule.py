"""Which fault comes when: the same seed gives the same schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEAD_S, TAIL_S = 5.0, 15.0
"""Without faults, at the start and at the end, if nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault."""

    name: str
    area: str
    """Two faults of one area do not overlap: ``gateway network nats feed client``."""
    seconds: tuple[float, float]
    """How long it lasts, at least and at most."""
    rest_s: float = 1.0
    """Until the next one of its area."""


KINDS = (
    Kind("gateway killed", "gateway", (0.3, 2.0), 3.0),
    Kind("gateway stopped", "gateway", (0.5, 4.0), 2.0),
    Kind("gateway drained", "gateway", (0.0, 0.5), 3.0),
    Kind("rolling restart", "gateway", (0.0, 0.0), 8.0),
    Kind("all gateways killed", "gateway", (0.2, 1.0), 5.0),
    Kind("clock of a gateway stepped", "gateway", (1.0, 4.0)),
    Kind("overload", "gateway", (3.0, 6.0), 6.0),
    Kind("load balancer restarted", "network", (0.1, 0.5), 3.0),
    Kind("clients cut off", "network", (0.0, 0.5), 2.0),
    Kind("some clients cut off", "network", (0.0, 0.0)),
    Kind("clients' link delayed", "network", (1.0, 4.0)),
    Kind("clients' link frozen", "network", (0.5, 3.0), 2.0),
    Kind("gateway cut off from NATS", "network", (0.0, 1.5), 2.0),
    Kind("gateway's link to NATS delayed", "network", (1.0, 4.0)),
    Kind("gateway's link to NATS frozen", "network", (0.5, 3.0), 2.0),
    Kind("feed cut off from NATS", "network", (0.0, 1.0), 2.0),
    Kind("node killed", "nats", (0.5, 3.0), 4.0),
    Kind("node stopped", "nats", (0.5, 3.0), 3.0),
    Kind("stream leader killed", "nats", (0.5, 3.0), 4.0),
    Kind("stream leader stepped down", "nats", (0.0, 0.0), 2.0),
    Kind("quorum lost", "nats", (1.0, 5.0), 5.0),
    Kind("storage of a node lost", "nats", (0.2, 1.0), 5.0),
    Kind("disk of a node full", "nats", (2.0, 4.0), 3.0),
    Kind("log purged", "nats", (0.0, 0.0), 2.0),
    Kind("feed killed", "feed", (0.1, 1.5), 4.0),
    Kind("feed stopped", "feed", (0.5, 3.0), 2.0),
    Kind("feed taken over", "feed", (0.0, 0.0), 5.0),
    Kind("decimals changed", "feed", (0.0, 0.0), 2.0),
    Kind("trading halted", "feed", (1.5, 4.0)),
    Kind("venue silent", "feed", (1.0, 5.0)),
    Kind("burst", "feed", (0.0, 0.0)),
    Kind("clock of the feed stepped", "feed", (1.0, 4.0)),
    Kind("all clients hang up", "client", (0.0, 0.0), 5.0),
    Kind("slow readers", "client", (1.0, 5.0), 2.0),
    Kind("storm of strangers", "client", (0.5, 2.0), 2.0),
    Kind("gateway of another version", "gateway", (3.0, 8.0), 5.0),
)
_OF_BOOKS = ("feed", "client")
"""Areas whose faults are for runs with books and trades."""
_BESIDE_TOPICS = frozenset(
    {"load balancer restarted", "feed cut off from NATS", "log purged", "gateway of another version"}
)
OWN_OF_TOPICS = (
    Kind("device killed", "client", (0.1, 2.0), 2.0),
    Kind("device stopped", "client", (0.5, 4.0), 2.0),
    Kind("publisher killed", "client", (0.1, 1.5), 2.0),
    Kind("publisher stopped", "client", (0.5, 4.0), 2.0),
    Kind("publisher cut off from NATS", "network", (0.0, 1.5), 2.0),
    Kind("gateway deaf to NATS", "network", (1.0, 9.0), 2.0),
    Kind("gateway mute to NATS", "network", (1.0, 9.0), 2.0),
    Kind("all nodes killed", "nats", (0.2, 1.0), 8.0),
    Kind("stream leader stopped", "nats", (8.0, 20.0), 5.0),
)
TOPIC_KINDS = (
    *(kind for kind in KINDS if kind.area not in _OF_BOOKS and kind.name not in _BESIDE_TOPICS),
    *OWN_OF_TOPICS,
)
"""The faults of a run with events, maps and presence."""
BY_NAME = {kind.name: kind for kind in (*KINDS, *OWN_OF_TOPICS)}


@dataclass(frozen=True, slots=True)
class Event:
    """One fault of a schedule. ``pick``, from [0, 1), chooses what it hits."""

    number: int
    at_s: float
    kind: str
    seconds: float
    pick: float

    def choose(self, count: int) -> int:
        return int(self.pick * count)


def plan(
    seed: object,
    seconds: float,
    every_s: float,
    kinds: Sequence[Kind] = KINDS,
    quiet_s: tuple[float, float] = (LEAD_S, TAIL_S),
) -> list[Event]:
    """Faults for so many seconds, one every ``every_s`` on average; each kind as often as every other, but for one."""
    chance = random.Random(f"chaos {seed}")
    following = _rounds(chance, kinds)
    free = {kind.area: 0.0 for kind in kinds}
    faults: list[tuple[float, Kind, float, float]] = []
    at, ends = quiet_s[0], seconds - quiet_s[1]
    while at < ends:
        kind = next(following)
        begins, lasts = max(at, free[kind.area]), chance.uniform(*kind.seconds)
        if begins < ends:
            faults.append((begins, kind, lasts, chance.random()))
        free[kind.area] = begins + lasts + kind.rest_s
        at += every_s * chance.uniform(0.6, 1.4)
    faults.sort(key=lambda fault: fault[0])
    return [
        Event(number, round(begins, 2), kind.name, round(lasts, 2), pick)
        for number, (begins, kind, lasts, pick) in enumerate(faults)
    ]


def _rounds(chance: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    """All kinds in random order, again and again."""
    while True:
        yield from chance.sample(kinds, len(kinds))
