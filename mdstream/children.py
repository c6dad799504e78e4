"""Child processes, for the demo and the bench. Each one ends when this process ends; error messages quote their output."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mdstream.errors import MdstreamError
from mdstream.parent_death import killed_with_parent

STOP_S = 5.0
TAIL_BYTES = 2048
TAIL_LINES = 5


class Log:
    """The output of the children, in a file without a name, so that no file is left."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - closed by __exit__

    def fileno(self) -> int:
        return self._file.fileno()

    def handler(self) -> logging.Handler:
        """A handler that adds the log of this process."""
        return logging.StreamHandler(_TextWriter(self._file))

    def said(self) -> str:
        """The last lines, for an error message; reading does not move the children's position in the file."""
        size = os.fstat(self.fileno()).st_size
        end = os.pread(self.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace")
        lines = [line for line in end.splitlines() if line.strip()][-TAIL_LINES:]
        return "".join(f"\n  {line}" for line in lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class _TextWriter:
    """The part of a text file that a log handler needs."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        if not self._file.closed:
            self._file.write(text.encode(errors="replace"))

    def flush(self) -> None: ...


class Child:
    """A running child process."""

    def __init__(self, process: asyncio.subprocess.Process, what: str) -> None:
        self._process = process
        self._what = what

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> None:
        await self._process.wait()

    async def ended(self) -> None:
        """Raises MdstreamError as soon as it ends."""
        status = await self._process.wait()
        raise MdstreamError(f"{self._what} ended with status {status}")

    async def stop(self) -> None:
        """Asks it to end, and kills it if it does not end in time."""
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def module_command(module: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Command and environment that run a module of ours: the one next to this module, not one of that name in the working directory."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return [sys.executable, "-P", "-m", module, *arguments], environment


async def start_module(module: str, arguments: Sequence[str], **options: Any) -> asyncio.subprocess.Process:
    """Runs a module of ours, until this process dies at the latest."""
    command, environment = module_command(module, arguments)
    return await asyncio.create_subprocess_exec(*killed_with_parent(command), env=environment, **options)


@contextmanager
def on_cpus(cpus: Collection[int]) -> Iterator[None]:
    """Processes that this thread starts inside run only on these CPUs, from their first instruction; none given: on any."""
    if not cpus:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
