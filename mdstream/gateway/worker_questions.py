"""What a supervisor asks its workers for operators, over their link: questions with one answer, or with answers that go on.

To a worker: ``{"do": "answer", "id": 7, "ask": "trace", "query": {…}}``; then ``{"do": "answer", "id": 7, "more": 1}`` for each
answer that was taken, or ``"more": 0``, when nobody wants any more.
From a worker: ``{"answer": {"id": 7, "is": …}}``, and ``{"id": 7}`` alone after the last. A worker is a few answers ahead
at most, so that a slow reader costs neither process memory.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from mdstream.gateway.inspection import Inspector

log = logging.getLogger("mdstream.gateway.worker")

AHEAD: Final = 4
_END: Final = object()


class Questions:
    """The supervisor's side, of one worker."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Queue[Any]] = {}
        self._closed = False

    async def answers(self, what: str, **query: Any) -> AsyncGenerator[Any, None]:
        """What the worker answers; nothing once it has ended. Close it when no more is wanted."""
        if self._closed:
            return
        id = next(self._ids)
        answers = self._asked[id] = asyncio.Queue()
        self._tell("answer", id=id, ask=what, query=query)
        try:
            while (answer := await answers.get()) is not _END:
                yield answer
                self._tell("answer", id=id, more=1)
        finally:
            if self._asked.pop(id, None) is not None:
                self._tell("answer", id=id, more=0)

    def take(self, answer: dict[str, Any]) -> None:
        """Something that the worker said."""
        if "is" in answer:
            if (answers := self._asked.get(answer["id"])) is not None:
                answers.put_nowait(answer["is"])
        elif (answers := self._asked.pop(answer["id"], None)) is not None:
            answers.put_nowait(_END)

    def close(self) -> None:
        """The worker has ended."""
        self._closed = True
        asked, self._asked = self._asked, {}
        for answers in asked.values():
            answers.put_nowait(_END)


class Answering:
    """The worker's side."""

    def __init__(self, send: Callable[[dict[str, Any]], None], inspector: Inspector) -> None:
        self._send = send
        self._inspector = inspector
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._rooms: dict[int, asyncio.Semaphore] = {}

    def take(
        self, id: int, ask: str = "", query: dict[str, Any] | None = None, more: int | None = None
    ) -> None:
        """Something that the supervisor asked."""
        if more is None:
            self._rooms[id] = asyncio.Semaphore(AHEAD)
            task = self._tasks[id] = asyncio.get_running_loop().create_task(
                self._answer(id, ask, query or {})
            )
            task.add_done_callback(lambda _: self._forget(id))
        elif more and id in self._rooms:
            self._rooms[id].release()
        elif id in self._tasks:
            self._tasks[id].cancel()

    async def _answer(self, id: int, what: str, query: dict[str, Any]) -> None:
        try:
            async with aclosing(self._inspector.answers(what, **query)) as answers:
                async for answer in answers:
                    self._send({"answer": {"id": id, "is": answer}})
                    await self._rooms[id].acquire()
        except Exception:
            log.exception("%s could not be answered", what)
        finally:
            self._send({"answer": {"id": id}})

    def _forget(self, id: int) -> None:
        self._tasks.pop(id, None)
        self._rooms.pop(id, None)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
