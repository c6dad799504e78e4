"""Answers what operators ask of a gateway of several workers: all of them are asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol

from mdstream._version import __version__
from mdstream.gateway import session_rows, status
from mdstream.gateway.inspection import FULL, Answers

if TYPE_CHECKING:
    from mdstream.gateway.worker_process import WorkerProcess

ANSWER_S: Final = 2.0
"""Time for a worker to answer; what one says that does not is left out."""


class Slot(Protocol):
    """Where a worker has its place."""

    number: int
    starts_total: int
    process: WorkerProcess | None


class WorkerInspection:
    """``slots`` and ``processes`` are the supervisor's own lists, which change."""

    def __init__(
        self,
        node: str,
        slots: Sequence[Slot],
        processes: Sequence[WorkerProcess],
        not_ready: Callable[[], str | None],
    ) -> None:
        self._node = node
        self._slots = slots
        self._processes = processes
        self._not_ready = not_ready
        self._started_us = time.time_ns() // 1000

    async def answers(self, what: str, **query: Any) -> Answers:
        """As ``inspection.Inspector``."""
        if what == "status":
            yield await self._status()
        elif what == "sessions":
            pages = [self._of(process, page) for process, page in await self._ask_all(what, **query)]
            yield session_rows.merge(pages, query["limit"])
        elif what == "trace":
            async with aclosing(self._trace(query)) as lines:
                async for each in lines:
                    yield each

    async def _status(self) -> dict[str, Any]:
        figures = [answer for _, answer in await self._ask_all("status")]
        merged = status.merge(figures) if figures else status.nothing()
        return {
            **merged,
            "version": __version__,
            "node": self._node,
            "time_us": time.time_ns() // 1000,
            "started_us": self._started_us,
            "not_ready": self._not_ready(),
            "workers": [_worker(slot) for slot in self._slots],
        }

    @staticmethod
    def _of(process: WorkerProcess, page: dict[str, Any]) -> dict[str, Any]:
        """Each row with the number of its worker."""
        return {**page, "sessions": [{**row, "worker": process.number} for row in page["sessions"]]}

    async def _ask_all(self, what: str, **query: Any) -> list[tuple[WorkerProcess, Any]]:
        processes = list(self._processes)
        found = await asyncio.gather(*(_first(process, what, query) for process in processes))
        return [
            (process, answer) for process, answer in zip(processes, found, strict=True) if answer is not None
        ]

    async def _trace(self, query: dict[str, Any]) -> Answers:
        """Of the worker that has the session."""
        asked = [process.questions.answers("trace", **query) for process in self._processes]
        firsts = await asyncio.gather(*map(_next, asked))
        chosen = next((at for at, first in enumerate(firsts) if first is not None), None)
        for at, answers in enumerate(asked):
            if at != chosen:
                await answers.aclose()
        if chosen is None:
            return
        async with aclosing(asked[chosen]) as answers:
            yield firsts[chosen]
            if firsts[chosen] == FULL:
                return
            async for lines in answers:
                yield lines


async def _first(process: WorkerProcess, what: str, query: dict[str, Any]) -> Any:
    async with aclosing(process.questions.answers(what, **query)) as answers:
        return await _next(answers)


async def _next(answers: Answers) -> Any:
    """None where there is none in time."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await anext(answers, None)
    except TimeoutError:
        return None


def _worker(slot: Slot) -> dict[str, Any]:
    process = slot.process
    is_there = process is not None and not process.ended.is_set()
    return {
        "worker": slot.number,
        "pid": process.pid if process is not None and is_there else None,
        "not_ready": process.state.not_ready if process is not None and is_there else "it has ended",
        "draining": process is not None and process.state.draining,
        "connections": 0 if process is None else process.state.clients,
        "starts": slot.starts_total,
    }
