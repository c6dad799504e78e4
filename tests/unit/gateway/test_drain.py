from __future__ import annotations

import asyncio

from mdstream.gateway.drain import drain


class Leaver:
    """A session that notes its end; ``obedient`` leaves as soon as it is told."""

    def __init__(self, obedient: bool = False) -> None:
        self.obedient = obedient
        self.told: tuple[int, int] | None = None
        self.code = 0

    def close(self, code: int, reason: str) -> None:
        self.code = code


def tell(session: Leaver, reconnect_after_ms: int, deadline_ms: int) -> None:
    session.told = (reconnect_after_ms, deadline_ms)


def test_who_leaves_when_told_is_not_closed(run) -> None:
    async def scenario() -> None:
        sessions = [Leaver(obedient=True) for _ in range(50)]
        await drain(sessions, tell, lambda: 0, spread_ms=1000, deadline_ms=60_000)
        assert all(session.told is not None and 0 <= session.told[0] <= 1000 for session in sessions)
        assert len({session.told for session in sessions}) > 10
        assert all(session.code == 0 for session in sessions)

    run(scenario())


def test_who_stays_is_closed_with_1012_after_its_own_delay(run) -> None:
    async def scenario() -> None:
        sessions = [Leaver() for _ in range(3)]
        began_s = asyncio.get_running_loop().time()
        await drain(
            sessions, tell, lambda: sum(s.code == 0 for s in sessions), spread_ms=0, deadline_ms=60_000
        )
        assert [session.code for session in sessions] == [1012] * 3
        assert asyncio.get_running_loop().time() - began_s >= 1.0, "each has a second to leave by itself"

    run(scenario())


def test_at_the_deadline_it_returns_whoever_is_there(run) -> None:
    async def scenario() -> None:
        sessions = [Leaver() for _ in range(3)]
        await drain(sessions, tell, lambda: 3, spread_ms=60_000, deadline_ms=100)
        assert all(session.told is not None and session.told[0] <= 100 for session in sessions)

    run(scenario())
