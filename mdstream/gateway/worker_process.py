"""A worker of a gateway as the supervisor sees it: a process, what it says, and what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Self

from mdstream.children import module_command
from mdstream.gateway.worker_link import Link, Pages, WorkerState
from mdstream.gateway.worker_questions import Questions
from mdstream.gateway.worker_settings import Start

MODULE: Final = "mdstream.gateway.worker"
SILENT_TICKS: Final = 6
"""A worker that has said nothing for so many ticks of the supervisor is passed over: others accept its connections."""
HUNG_TICKS: Final = 60
"""After so many it is killed, and started again."""


class WorkerProcess:
    """Start it with ``start``; ``ended`` is done when its process is gone."""

    def __init__(self, start: Start, process: asyncio.subprocess.Process, link: Link) -> None:
        self.number = start.number
        self.column = start.column
        self.state = WorkerState()
        self.pages: Pages | None = None
        self.failure: tuple[str, int] | None = None
        """Why it could not serve, and the exit code that it asks for."""
        self.watched: list[int] = []
        self.ended = asyncio.Event()
        self.was_killed = False
        self._process = process
        self._link = link
        self._unheard = 0
        self._told_pages = asyncio.Event()
        self.questions = Questions(self.tell)

    @classmethod
    async def start(cls, make_start: Callable[[int], Start], inherited: Iterable[int]) -> Self:
        """``make_start`` is given the number of the descriptor of the worker's end of the link."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            start = make_start(theirs.fileno())
            start_fd = start.write()
            command, environment = module_command(MODULE, [str(start_fd)])
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    env=environment,
                    pass_fds=(start_fd, theirs.fileno(), *inherited),
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C at the terminal is for the supervisor, which tells the workers
                )
            finally:
                os.close(start_fd)
        return cls(start, process, await Link.open(ours))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.returncode

    @property
    def is_able(self) -> bool:
        """It can accept connections."""
        return self.state.serving and not self.is_silent

    @property
    def is_ready(self) -> bool:
        return self.is_able and self.state.not_ready is None

    @property
    def is_silent(self) -> bool:
        return self._unheard > SILENT_TICKS

    def tell(self, do: str, **more: Any) -> None:
        self._link.send({"do": do, **more})

    def watch(self, slots: list[int]) -> None:
        if slots != self.watched:
            self.watched = slots
            self.tell("watch", slots=slots)

    def tick(self) -> None:
        """A worker that hangs is killed. What counts is our own ticks: if the whole machine stands still, nobody is to blame."""
        self._unheard += 1
        if self._unheard > HUNG_TICKS:
            self.kill()

    def kill(self) -> None:
        self.was_killed = True
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    async def listen(self, changed: Callable[[], None]) -> None:
        """Takes what it says until it has ended; ``changed`` after each new state."""
        async for message in self._link.messages():
            self._unheard = 0
            if "state" in message:
                state = WorkerState(**message["state"])
                if state != self.state:
                    self.state = state
                    changed()
            elif "pages" in message:
                self.pages = Pages(**message["pages"])
                self._told_pages.set()
            elif "answer" in message:
                self.questions.take(message["answer"])
            elif "failed" in message:
                self.failure = message["failed"], message["code"]
        self.state = WorkerState(not_ready="it has ended")
        await self._process.wait()
        self._link.close()
        self.ended.set()
        self.questions.close()
        self._told_pages.set()

    async def ask_pages(self) -> None:
        """Returns when ``pages`` are new, or it has ended."""
        self._told_pages.clear()
        self.tell("pages")
        await self._told_pages.wait()

    async def end_within(self, deadline_s: float) -> None:
        """Waits for its end, and kills it after the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                await self.ended.wait()
        except TimeoutError:
            self.kill()
            await self.ended.wait()
