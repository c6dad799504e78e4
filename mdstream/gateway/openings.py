"""The openings of instruments and topics, in a fair order: those who ask take turns, and an opening ends with the last who waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeAlias, TypeVar

from mdstream.codes import ErrorCode
from mdstream.errors import BusError, CommandError
from mdstream.gateway.turns import Wake, at_once, error_of

T = TypeVar("T", bound=Hashable)
A = TypeVar("A", bound=Hashable)

AT_ONCE = 32
"""Openings that run at a time: each asks JetStream a few times."""
AT_ONCE_OF_ONE = 16
"""Of those, begun for one asker."""
MOST = 200_000
"""Names that wait. Beyond it, an asker who has his share of them is refused further ones."""
LEAST_SHARE = 1_000


class _Ask(Generic[T, A]):
    """What one command waits for; nothing is kept of a name before its turn but the name."""

    __slots__ = ("asker", "count", "done", "error", "is_known", "left", "names", "running")

    def __init__(self, asker: A, names: Sequence[T], done: asyncio.Future[None]) -> None:
        self.asker = asker
        self.names = iter(names)
        self.count = self.left = len(names)
        self.running: set[T] = set()
        self.done = done
        self.is_known = False
        """How it ends, though nobody may have been told yet."""
        self.error: BaseException | None = None

    def finished(self, name: T, error: BaseException | None) -> bool:
        """One of the names is open, or cannot be opened: then the others do not matter any more. True if it is known now how this ends."""
        self.running.discard(name)
        self.left -= 1
        if self.is_known:
            return False
        self.error = error
        self.is_known = error is not None or not self.left
        return self.is_known

    def tell(self) -> None:
        error, self.error = self.error, None
        if self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
            self.done.exception()  # nobody may be left to look at it
        else:
            self.done.set_result(None)


_Queue: TypeAlias = dict[_Ask[T, A], None]
"""In order, and quick to leave."""


class _Opening(Generic[T, A]):
    """One name that is being opened."""

    __slots__ = ("asks", "begun_for", "task")

    def __init__(self, begun_for: A, task: asyncio.Task[Any]) -> None:
        self.begun_for = begun_for
        self.task = task
        self.asks: dict[_Ask[T, A], None] = {}


class Openings(Generic[T, A]):
    """Runs the work that opens a name, once for all who ask for it; no I/O of its own.

    Askers take turns, name by name, so that one who asks for thousands of names delays others by one. What nobody waits for any
    more is cancelled, or never begun.
    """

    def __init__(
        self,
        work: Callable[[T, A], Coroutine[Any, Any, object]],
        is_open: Callable[[T], bool],
        *,
        at_once: int = AT_ONCE,
        at_once_of_one: int = AT_ONCE_OF_ONE,
        most: int = MOST,
        least_share: int = LEAST_SHARE,
        wake: Wake = at_once,
    ) -> None:
        """``work`` opens a name for the one whose turn it was, or raises what all who asked for it are told. ``is_open``: it is open
        already, for one that has waited for its turn meanwhile. ``wake`` is given a call for each opening that begins or is cancelled,
        and for each ask that is done."""
        self._work = work
        self._is_open = is_open
        self._at_once = at_once
        self._at_once_of_one = at_once_of_one
        self._most = most
        self._least_share = least_share
        self._wake = wake
        self._begins = False
        """Whether the next opening is about to begin."""
        self._asks: set[_Ask[T, A]] = set()
        self._waiting: Counter[A] = Counter()
        """By asker, the names of all his asks."""
        self._names = 0
        self._queues: dict[A, _Queue[T, A]] = {}
        """By asker, in the order of their turns: asks with names that were not begun."""
        self._full: dict[A, _Queue[T, A]] = {}
        """Queues that must wait until an opening of their asker has ended."""
        self._openings: dict[T, _Opening[T, A]] = {}
        self._ending: dict[T, asyncio.Task[Any]] = {}
        """Openings that were cancelled and have not ended yet."""
        self._running: Counter[A] = Counter()

    def __len__(self) -> int:
        """Asks that wait for their names."""
        return len(self._asks)

    @property
    def running(self) -> int:
        """Openings that run, cancelled ones that have not ended yet included."""
        return self._running.total()

    @contextmanager
    def asked(self, asker: A, names: Sequence[T]) -> Iterator[asyncio.Future[None]]:
        """A future that is done when all names are open, or has the error of the first that cannot be opened.

        Who leaves the context waits for none of them any more. Raises CommandError ``unavailable`` if too many wait already.
        """
        self._check_room(asker, len(names))
        queue: _Queue[T, A] = self._full.get(asker) or self._queues.get(asker) or {}
        ask = _Ask(asker, names, asyncio.get_running_loop().create_future())
        self._asks.add(ask)
        self._waiting[asker] += ask.count
        self._names += ask.count
        ask.names = iter([name for name in names if name not in self._openings or not self._join(ask, name)])
        queue[ask] = None
        if asker not in self._full:
            self._queues[asker] = queue
        self._begin_some()
        try:
            yield ask.done
        finally:
            self._leave(ask)
            self._begin_some()

    async def wait(self, asker: A, name: T) -> None:
        """Returns once one name is open. Raises CommandError, ``unavailable`` where the bus cannot be asked."""
        with self.asked(asker, [name]) as done:
            try:
                await done
            except BusError as error:
                raise CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again") from None
            finally:
                # It may have an error, which knows this frame: both would wait for the garbage collector.
                del done

    def _join(self, ask: _Ask[T, A], name: T) -> bool:
        """Whether the name is being opened: then the ask waits for it without a turn."""
        opening = self._openings.get(name)
        if opening is None:
            return False
        opening.asks[ask] = None
        ask.running.add(name)
        return True

    def _check_room(self, asker: A, more: int) -> None:
        """An asker for whom nothing waits is never refused."""
        waiting = self._waiting[asker]
        if not waiting or self._names + more <= self._most:
            return
        if waiting + more > max(self._least_share, self._most // len(self._waiting)):
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "too much waits to be opened already; ask for less, or try again later",
            )

    def _leave(self, ask: _Ask[T, A]) -> None:
        self._asks.discard(ask)
        self._names -= ask.count
        self._waiting[ask.asker] -= ask.count
        if not self._waiting[ask.asker]:
            del self._waiting[ask.asker]
        for queues in (self._queues, self._full):
            queue = queues.get(ask.asker)
            if queue is not None:
                queue.pop(ask, None)
                if not queue:
                    del queues[ask.asker]
        ask.done.cancel()
        for name in ask.running:
            opening = self._openings[name]
            del opening.asks[ask]
            if not opening.asks:
                del self._openings[name]
                self._ending[name] = opening.task
                self._wake(opening.task.cancel, ask.asker)
        ask.running.clear()

    # ---- turns

    def _begin_some(self) -> None:
        """One after the other: those that begin together would come back from the bus together, and hold up the loop."""
        if self._may_begin and not self._begins:
            self._begins = True
            self._wake(self._begin_one, None)

    @property
    def _may_begin(self) -> bool:
        return bool(self._queues) and self.running < self._at_once

    def _begin_one(self) -> None:
        self._begins = False
        while self._may_begin and not self._take_turn():
            pass
        self._begin_some()

    def _take_turn(self) -> bool:
        """The turn of one asker: whether an opening has begun."""
        asker, queue = next(iter(self._queues.items()))
        del self._queues[asker]
        if self._running[asker] >= self._at_once_of_one:
            self._full[asker] = queue
            return False
        has_begun = self._begin_next(queue)
        if queue:
            self._queues[asker] = queue  # behind all others
        return has_begun

    def _begin_next(self, queue: _Queue[T, A]) -> bool:
        """Begins the first name of the queue that is not being opened already; takes out asks that have no more names."""
        while queue:
            ask = next(iter(queue))
            for name in () if ask.is_known else ask.names:
                if self._is_open(name):
                    self._finish(ask, name, None)
                elif not self._join(ask, name):
                    self._begin(ask.asker, name)
                    self._join(ask, name)
                    return True
            del queue[ask]
        return False

    def _begin(self, asker: A, name: T) -> None:
        task = asyncio.get_running_loop().create_task(self._run(name, asker, self._ending.get(name)))
        opening = self._openings[name] = _Opening(asker, task)
        self._running[asker] += 1
        task.add_done_callback(lambda done: self._ended(name, opening, done))

    async def _run(self, name: T, asker: A, before: asyncio.Task[Any] | None) -> None:
        """An opening that was cancelled must have ended before another of that name begins."""
        if before is not None:
            await asyncio.wait([before])
        await self._work(name, asker)

    def _ended(self, name: T, opening: _Opening[T, A], task: asyncio.Task[Any]) -> None:
        asker = opening.begun_for
        self._running[asker] -= 1
        if not self._running[asker]:
            del self._running[asker]
        queue = self._full.pop(asker, None)
        if queue is not None:
            self._queues[asker] = queue
        if self._ending.get(name) is task:
            del self._ending[name]
        if self._openings.get(name) is opening:
            del self._openings[name]
        error = error_of(task)
        for ask in opening.asks:
            if task.cancelled():
                ask.done.cancel()
            self._finish(ask, name, error)
        self._begin_some()

    def _finish(self, ask: _Ask[T, A], name: T, error: BaseException | None) -> None:
        if ask.finished(name, error):
            self._wake(ask.tell, ask.asker)

    async def close(self) -> None:
        """Cancels all of them; who waits is told by a cancelled future."""
        for ask in self._asks:
            ask.done.cancel()
        self._queues.clear()
        self._full.clear()
        tasks = [opening.task for opening in self._openings.values()] + list(self._ending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
