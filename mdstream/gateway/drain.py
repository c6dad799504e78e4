"""Drains the clients: each is told its own delay, and is closed with 1012 soon after the delay has passed.

Clients that obey ``drain`` leave by themselves. Closing the others after their own delays spreads their return in the same way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from operator import itemgetter

from mdstream._core.net.session import Session
from mdstream.codes import CloseCode

_STEP_S = 0.05
_GRACE_MS = 1_000
"""The time a client has to leave by itself after its own delay."""


async def drain(
    sessions: Iterable[Session],
    tell: Callable[[Session, int, int], None],
    remaining: Callable[[], int],
    *,
    spread_ms: int,
    deadline_ms: int,
) -> None:
    """Drains ``sessions``; returns when ``remaining`` is 0, or at the deadline."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    spread_ms = min(spread_ms, deadline_ms)
    departures: list[tuple[float, Session]] = []
    for session in sessions:
        delay_ms = random.randint(0, spread_ms)
        tell(session, delay_ms, deadline_ms)
        due_ms = min(delay_ms + _GRACE_MS, deadline_ms)
        departures.append((start_s + due_ms / 1000, session))
    departures.sort(key=itemgetter(0), reverse=True)
    while remaining() and (now_s := loop.time()) < start_s + deadline_ms / 1000:
        while departures and departures[-1][0] <= now_s:
            departures.pop()[1].close(CloseCode.DRAINING, "this gateway stops")
        await asyncio.sleep(_STEP_S)


def close_all(sessions: Iterable[Session]) -> None:
    """Closes all sessions now."""
    for session in sessions:
        session.close(CloseCode.DRAINING, "this gateway stops")
