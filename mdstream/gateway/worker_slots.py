"""Which worker accepts on which listening socket, and when one that died is started again; without I/O.

Each worker has a slot: its own listening socket on each address, to which the kernel sends its share of new connections (SO_REUSEPORT).
The supervisor keeps the sockets, so a connection that comes while a worker is not there waits in the kernel, and another worker, which
has inherited all sockets too, accepts it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

GOOD_S: Final = 60.0
"""A worker that lived this long is started again at once."""
FIRST_DELAY_S: Final = 0.5
MOST_DELAY_S: Final = 30.0


def assign(owners: Sequence[T | None], able: Sequence[T], ready: Collection[T]) -> list[T | None]:
    """Who accepts on each slot: its own worker if it should, else the others in turn; None where nobody can.

    ``able`` can accept connections; of them those that are ``ready`` should, or all where nobody is ready.
    """
    should = [worker for worker in able if worker in ready] or list(able)
    assigned: list[T | None] = []
    helped = 0
    for owner in owners:
        if owner in should or not should:
            assigned.append(owner if should else None)
        else:
            assigned.append(should[helped % len(should)])
            helped += 1
    return assigned


class Restarts:
    """How long to wait before a worker that ended is started again."""

    def __init__(self) -> None:
        self._early = 0

    def delay_s(self, lived_s: float) -> float:
        """None after the first end in a while, then longer each time."""
        self._early = 0 if lived_s >= GOOD_S else self._early
        delay_s = 0.0 if self._early == 0 else min(FIRST_DELAY_S * 2 ** (self._early - 1), MOST_DELAY_S)
        self._early += 1
        return delay_s


def not_ready(reasons: Sequence[str | None], was_ready: bool) -> str | None:
    """Why a gateway of workers is not ready, from why each of them is not; None if it is.

    It becomes ready when all workers are, and stays so while half of them are: the others carry what comes.
    """
    ready = reasons.count(None)
    enough = (len(reasons) + 1) // 2 if was_ready else len(reasons)
    if ready >= enough:
        return None
    why = next(reason for reason in reasons if reason is not None)
    return f"{ready} of {len(reasons)} workers are ready: {why}"
