"""Shares the time of the event loop among sessions: what takes long goes on in later turns of the loop, and others go in between.

The work of a session is an iterator that yields after each step; a step is short. Work begins at once while there is time. If it is not
done when its slice is over, its session is paused, which means that nothing more is read from it, and waits in a queue. Once in
each turn of the loop those that wait are served, each for a moment, until the slice of this turn is over.

Tasks run when the loop says so, outside all slices. So what starts, wakes or cancels a task says what that will take: a step yields it,
and the gateway's own ``Calls`` are as many in a turn as there is time for their tasks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, Protocol, TypeAlias

from mdstream._core.base.turn_time import TurnTime
from mdstream.codes import CloseCode

log = logging.getLogger("mdstream.gateway.turns")

SLICE_US: Final = 1_000
"""Work in one turn of the loop, of all sessions together."""
MOMENT_US: Final = 250
"""Work of one session before the next one that waits has its turn."""
TASK_US: Final = 100
"""What a task of a command usually takes until it waits again."""

EXAMINE_US: Final = 5_000

Steps: TypeAlias = Iterator[Any]
"""A step yields nothing, or the µs that a task will take which it has let go on: they count as its own."""

Call: TypeAlias = Callable[[], object]
Wake: TypeAlias = Callable[[Call, Hashable], object]
"""Takes a call that lets a task go on, and whose that is; makes it at once or in a later turn of the loop."""


def at_once(call: Call, whose: Hashable) -> object:
    return call()


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task that is done has raised; None also if it was cancelled.

    A cancelled task keeps its CancelledError until somebody asks for it, and with it the frames that know the task: all of that would
    wait for the garbage collector.
    """
    try:
        return task.exception()
    except asyncio.CancelledError:
        return None


class Worker(Protocol):
    """What is used of a session."""

    @property
    def open(self) -> bool: ...
    def pause_input(self) -> None: ...
    def resume_input(self) -> None: ...
    def close(self, code: int = ..., reason: str = ...) -> None: ...


class _Own:
    """In whose name the gateway's own work waits; it reads from nobody and never ends."""

    open: Final = True

    def pause_input(self) -> None: ...
    def resume_input(self) -> None: ...
    def close(self, code: int = 0, reason: str = "") -> None: ...


class Corks(Protocol):
    """What is used of a hub: what is sent between the two leaves in one write."""

    def cork(self) -> None: ...
    def uncork(self) -> None: ...


class Turns(TurnTime):
    """Runs the work of sessions in slices."""

    def __init__(
        self,
        corks: Corks,
        *,
        clock_us: Callable[[], int] | None = None,
        call_soon: Callable[[Callable[[], None]], object] | None = None,
        slice_us: int = SLICE_US,
        moment_us: int = MOMENT_US,
    ) -> None:
        """``clock_us`` None: the monotonic clock. ``call_soon`` calls in the next turn of the loop; by default that of the running one."""
        super().__init__(slice_us, clock_us)
        self._corks = corks
        self._call_soon = call_soon
        self._moment_us = moment_us
        self._own = _Own()
        self.wakes = Calls(self)
        """Calls that start tasks of commands, or wake them."""
        self.cancels = Calls(self)
        """Calls that cancel them. They have a queue of their own: thousands may end with a client."""
        self.examine: Callable[[], object] = _nothing
        """Called after ``EXAMINE_US`` of tasks, for the garbage collector. It counts new objects less those that have gone: where tasks
        wait for a while and others take their place, it would look at the new ones late, and at tens of thousands at once."""
        self._tasks_us = 0
        self._due = False
        self.deferred_total = 0
        """Work that was not done within its slice."""

    @property
    def waiting(self) -> int:
        """Sessions with work that is not done."""
        return sum(not isinstance(each, _Own) for each in self._waiting)

    def run(self, session: Worker, steps: Steps) -> None:
        """Begins the work of a session, after what it has waiting. What a step raises is the caller's, if it is raised at once."""
        began_us = self._clock_us()
        done = False
        if session not in self._waiting and self._left_us > 0:
            done = self._advance(steps, began_us + self._left_us)
            self._spend(self._clock_us() - began_us)
        if not done and session.open:
            self._wait(session, steps)

    def run_own(self, steps: Steps) -> None:
        """The same for work of the gateway itself, which has its turn among the sessions."""
        self.run(self._own, steps)

    def forget(self, session: Worker) -> None:
        """The session has ended: so does its work."""
        self._waiting.pop(session, None)

    def _wait(self, session: Worker, steps: Steps) -> None:
        self.deferred_total += 1
        if session in self._waiting:
            self._waiting[session].append(steps)
            return
        self._waiting[session] = deque((steps,))
        session.pause_input()
        self._ask_for_turn()

    def _advance(self, steps: Steps, until_us: int) -> bool:
        """True if it is done."""
        clock_us = self._clock_us
        for later_us in steps:
            if later_us:
                until_us -= later_us
                self._left_us -= later_us
                self._tasks_us += later_us
            if clock_us() >= until_us:
                return False
        return True

    def _spend(self, us: int) -> None:
        self._left_us -= us
        if self._left_us < self._slice_us // 2:
            self._ask_for_turn()

    def _ask_for_turn(self) -> None:
        if not self._due:
            self._due = True
            (self._call_soon or asyncio.get_running_loop().call_soon)(self._turn)

    def _turn(self) -> None:
        """A new turn of the loop: there is time again."""
        self._due = False
        self._left_us = self._slice_us
        if self._tasks_us >= EXAMINE_US:
            self._examine()
        try:
            for calls in (self.wakes, self.cancels):  # however many sessions wait
                if calls in self._waiting:
                    self._serve(calls)
            while self._waiting and self._left_us > 0:
                self._serve(next(iter(self._waiting)))
        finally:
            if self._waiting:
                self._ask_for_turn()

    def _examine(self) -> None:
        began_us = self._clock_us()
        self._tasks_us = 0
        self.examine()
        self._left_us -= self._clock_us() - began_us

    def _serve(self, session: Worker) -> None:
        """A moment for one session, which then waits behind the others, or is done and read from again."""
        work = self._waiting.pop(session)
        began_us = self._clock_us()
        done = self._serve_first(session, work, began_us + min(self._moment_us, self._left_us))
        self._left_us -= max(self._clock_us() - began_us, 1)
        if done:
            work.popleft()
        if not session.open:
            return
        if work:
            self._waiting[session] = work
        else:
            session.resume_input()

    def _serve_first(self, session: Worker, work: deque[Steps], until_us: int) -> bool:
        self._corks.cork()
        try:
            return not session.open or self._advance(work[0], until_us)
        except Exception:
            log.exception("a session is closed because of an internal error")
            session.close(CloseCode.INTERNAL_ERROR, "internal error")
            return True
        finally:
            self._corks.uncork()


def _nothing() -> None:
    """Examines nothing, until somebody sets ``examine``."""


class Calls(_Own):
    """Calls that must return at once, each of which lets a task go on: as many in a turn as there is time for the tasks. Those whose tasks
    they are take turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._queues: dict[Hashable, deque[Call]] = {}
        self._is_running = False

    def add(self, call: Call, whose: Hashable = None) -> None:
        """Now, or when there is time. ``whose`` None: the gateway's own, which comes first."""
        queue = self._queues.get(whose)
        if queue is None:
            queue = self._queues[whose] = deque()
        queue.append(call)
        if not self._is_running:
            self._is_running = True
            self._turns.run(self, self._each())

    def _each(self) -> Steps:
        try:
            while self._queues:
                self._next()()
                yield TASK_US
        finally:
            self._is_running = False

    def _next(self) -> Call:
        queues = self._queues
        whose = None if None in queues else next(iter(queues))
        queue = queues.pop(whose)
        call = queue.popleft()
        if queue:
            queues[whose] = queue  # behind all others
        return call
