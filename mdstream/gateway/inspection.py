"""Answers what operators ask of a gateway: its figures, its sessions, and what happens to one of them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from mdstream.gateway import session_rows
from mdstream.gateway.clients import client_of
from mdstream.gateway.kept_page import in_slices
from mdstream.gateway.session_rows import Wanted
from mdstream.gateway.tracing import Group, Tracing

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.gateway.sessions import Sessions
    from mdstream.gateway.status import Status

FULL: Final = "full"
"""The answer to ``trace`` where there are as many traces as there may be."""

Answers: TypeAlias = AsyncGenerator[Any, None]


class Inspector(Protocol):
    """Whoever knows: this process, or a supervisor that asks its workers."""

    def answers(self, what: str, **query: Any) -> Answers:
        """``status``: one answer, a dict. ``sessions``, as ``Wanted``: one, as ``session_rows.page_of``. ``trace`` of a ``session``, with
        or without ``bodies``: lines of JSON as text, until it ends or is closed; ``FULL``; nothing if there is no such session."""


class Inspection:
    """Of this process."""

    def __init__(
        self,
        sessions: Sessions,
        status: Status,
        group: Group,
        *,
        wall_us: Callable[[], int],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._status = status
        self._tracing = Tracing(group, wall_us=wall_us, now_s=now_s)
        self._now_s = now_s

    async def answers(self, what: str, **query: Any) -> Answers:
        if what == "status":
            yield await self._status.make()
        elif what == "sessions":
            yield await self._page(Wanted(**query))
        elif what == "trace":
            session = await self._find(query["session"])
            if session is not None:
                async with aclosing(self._trace(session, query["bodies"])) as traced:
                    async for lines in traced:
                        yield lines

    async def _page(self, wanted: Wanted) -> dict[str, Any]:
        page = session_rows.Page(wanted)
        await in_slices(page.take_all(self._sessions), self._now_s)
        rows = page.rows(self._now_s())
        return session_rows.page_of(rows, page.more)

    async def _find(self, name: str) -> Session | None:
        def found() -> Any:
            for session in self._sessions:
                yield session if client_of(session).id == name else None

        matching = [each for each in await in_slices(found(), self._now_s) if each is not None]
        return matching[0] if matching and matching[0].open else None

    async def _trace(self, session: Session, bodies: bool) -> AsyncGenerator[str, None]:
        if self._tracing.is_full:
            yield FULL
            return
        first = {
            "event": "session",
            **session_rows.row(session, self._now_s()),
            "views": session_rows.views(session),
        }
        trace = self._tracing.begin(session, first, bodies=bodies)
        try:
            async for lines in trace.lines():
                yield lines.decode()
        finally:
            self._tracing.end(trace)
