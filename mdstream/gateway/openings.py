"""The openings of instruments, in a fair order: those who ask take turns, and an opening ends with the last who waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

T = TypeVar("T")

AT_ONCE = 32
"""Openings that run at a time: each asks JetStream a few times."""
AT_ONCE_OF_ONE = 16
"""Of those, begun for one asker."""
MOST = 20_000
"""Openings that run or wait. Beyond it, an asker who has his share of them is refused further ones."""
LEAST_SHARE = 8

Work = Callable[[], Coroutine[Any, Any, T]]


class _Opening(Generic[T]):
    """One name that is being opened, or waits for its turn."""

    __slots__ = ("askers", "name", "result", "task", "work")

    def __init__(self, name: str, work: Work[T], result: asyncio.Future[T]) -> None:
        self.name = name
        self.work = work
        self.result = result
        self.askers: Counter[Hashable] = Counter()
        self.task: asyncio.Task[T] | None = None


class Openings(Generic[T]):
    """Runs the work that opens a name, once for all who ask for it; no I/O of its own.

    Each asker has a queue, and the queues take turns, so that one who asks for thousands of names delays others by one. What
    nobody waits for any more is cancelled, or never begun.
    """

    def __init__(
        self, *, at_once: int = AT_ONCE, at_once_of_one: int = AT_ONCE_OF_ONE, most: int = MOST
    ) -> None:
        self._at_once = at_once
        self._at_once_of_one = at_once_of_one
        self._most = most
        self._openings: dict[str, _Opening[T]] = {}
        self._queues: dict[Hashable, dict[str, _Opening[T]]] = {}
        """By asker, in the order of their turns: what was not begun, in the order in which they asked."""
        self._full: dict[Hashable, dict[str, _Opening[T]]] = {}
        """Queues that must wait until an opening of their asker has ended."""
        self._running: Counter[Hashable] = Counter()
        self._tasks: dict[asyncio.Task[T], str] = {}

    def __len__(self) -> int:
        """Openings that run or wait."""
        return len(self._openings)

    @property
    def running(self) -> int:
        """Openings that run, cancelled ones that have not ended yet included."""
        return len(self._tasks)

    @contextmanager
    def asked(
        self, asker: Hashable, names: Iterable[str], work: Callable[[str], Work[T]]
    ) -> Iterator[list[asyncio.Future[T]]]:
        """The results of these names, in order, as futures. Who leaves the context waits for none of them any more.

        Wait for them by ``asyncio.wait``: they are shared, and who awaits one and is cancelled would cancel it for all.

        Raises CommandError ``unavailable`` if too much waits already.
        """
        openings: list[_Opening[T]] = []
        try:
            for name in names:
                openings.append(self._ask(asker, name, work))  # noqa: PERF401 - if one is refused, those before it are left
            self._begin_some()
            yield [opening.result for opening in openings]
        finally:
            for opening in openings:
                self._leave(asker, opening)
            self._begin_some()

    def _ask(self, asker: Hashable, name: str, work: Callable[[str], Work[T]]) -> _Opening[T]:
        opening = self._openings.get(name)
        if opening is None:
            self._check_room(asker)
            opening = _Opening(name, work(name), asyncio.get_running_loop().create_future())
            self._openings[name] = opening
        opening.askers[asker] += 1
        if opening.task is None:
            self._queue_of(asker)[name] = opening
        return opening

    def _check_room(self, asker: Hashable) -> None:
        if len(self._openings) < self._most:
            return
        askers = len(self._queues) + len(self._full) + 1
        if len(self._queue_of(asker, {})) >= max(LEAST_SHARE, self._most // askers):
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "too many instruments wait to be opened; ask for fewer, or try again later",
            )

    def _queue_of(
        self, asker: Hashable, otherwise: dict[str, _Opening[T]] | None = None
    ) -> dict[str, _Opening[T]]:
        queue = self._full.get(asker)
        if queue is not None:
            return queue
        return self._queues.setdefault(asker, {}) if otherwise is None else self._queues.get(asker, otherwise)

    def _leave(self, asker: Hashable, opening: _Opening[T]) -> None:
        opening.askers[asker] -= 1
        if opening.askers[asker]:
            return
        del opening.askers[asker]
        self._drop(asker, opening)
        if opening.askers or opening.result.done():
            return
        self._forget(opening)
        opening.result.cancel()
        if opening.task is not None:
            opening.task.cancel()

    def _drop(self, asker: Hashable, opening: _Opening[T]) -> None:
        """Takes the opening out of the asker's queue."""
        for queues in (self._queues, self._full):
            queue = queues.get(asker)
            if queue is not None and queue.get(opening.name) is opening:
                del queue[opening.name]
            if queue is not None and not queue:
                del queues[asker]

    def _forget(self, opening: _Opening[T]) -> None:
        if self._openings.get(opening.name) is opening:
            del self._openings[opening.name]

    # ---- turns

    def _begin_some(self) -> None:
        while self._queues and len(self._tasks) < self._at_once:
            asker, queue = next(iter(self._queues.items()))
            del self._queues[asker]
            if self._running[asker] >= self._at_once_of_one:
                self._full[asker] = queue
                continue
            self._begin(asker, queue.pop(next(iter(queue))))
            if queue:
                self._queues[asker] = queue  # behind all others

    def _begin(self, asker: Hashable, opening: _Opening[T]) -> None:
        for other in opening.askers:
            self._drop(other, opening)
        before = [task for task, name in self._tasks.items() if name == opening.name]
        task = asyncio.get_running_loop().create_task(_run(opening, before))
        opening.task = task
        self._tasks[task] = opening.name
        self._running[asker] += 1
        task.add_done_callback(lambda done: self._ended(asker, opening, done))

    def _ended(self, asker: Hashable, opening: _Opening[T], task: asyncio.Task[T]) -> None:
        del self._tasks[task]
        self._running[asker] -= 1
        if not self._running[asker]:
            del self._running[asker]
        queue = self._full.pop(asker, None)
        if queue is not None:
            self._queues[asker] = queue
        self._forget(opening)
        _settle(opening.result, task)
        self._begin_some()

    async def close(self) -> None:
        """Cancels all of them; who waits is told by a cancelled future."""
        self._queues.clear()
        self._full.clear()
        for opening in list(self._openings.values()):
            opening.result.cancel()
        self._openings.clear()
        tasks: Sequence[asyncio.Task[T]] = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(opening: _Opening[T], before: Sequence[asyncio.Task[T]]) -> T:
    """An opening that was cancelled must have ended before another of that name begins."""
    if before:
        await asyncio.wait(before)
    return await opening.work()


def _settle(result: asyncio.Future[T], task: asyncio.Task[T]) -> None:
    if result.done():
        return
    if task.cancelled():
        result.cancel()
    elif (error := task.exception()) is not None:
        result.set_exception(error)
        result.exception()  # nobody may be left to look at it
    else:
        result.set_result(task.result())
