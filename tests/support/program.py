"""Runs our programs as a user does: their lines, signals, exit codes, and the files and processes that they leave."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0


class Program:
    """``python -m …``, or another command, from the root of the repository. It keeps standard error apart, and shows the files
    in the temporary directory and the processes that the program started.
    """

    def __init__(
        self,
        *arguments: str,
        temporary: Path,
        env: dict[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m"),
    ) -> None:
        self.temporary = temporary
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MDSTREAM_")}
        environment |= {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"} | (env or {})
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._coming: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, put), daemon=True)
            for stream, put in (
                (self.process.stdout, self._coming.put),
                (self.process.stderr, self._errors.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], put: object) -> None:
        for line in stream:
            put(line.rstrip("\n"))  # type: ignore[operator]
        put(None)  # type: ignore[operator]

    def until(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """The next line of its output that matches; fails with the whole output if none comes."""
        ends = time.monotonic() + deadline_s
        while True:
            try:
                line = self._coming.get(timeout=max(0.0, ends - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no line matches {pattern!r}; it said:\n{self.said}\n{self.errors}"
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found

    def until_error(self, pattern: str, deadline_s: float = DEADLINE_S) -> re.Match[str]:
        """The same for its standard error, from the start."""
        ends = time.monotonic() + deadline_s
        while not (found := re.search(pattern, self.errors)):
            assert self.process.poll() is None and time.monotonic() < ends, (
                f"no {pattern!r} in:\n{self.errors}"
            )
            self._readers[1].join(0.02)
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = None, deadline_s: float = DEADLINE_S) -> int:
        """Sends the signal, if one is given; returns the exit code once the whole output has been read."""
        if number is not None:
            self.signal(number)
        code = self.process.wait(deadline_s)
        for reader in self._readers:
            reader.join(deadline_s)
        while (line := self._coming.get(timeout=deadline_s)) is not None:
            self.lines.append(line)
        return code

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    @property
    def errors(self) -> str:
        return "\n".join(line for line in self._errors if line is not None)

    def children(self) -> dict[int, str]:
        """The running processes that it started, with their command lines; Linux only."""
        pid = self.process.pid
        pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return {child: Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in pids}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(DEADLINE_S)
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()  # type: ignore[union-attr]


def alive(pid: int) -> bool:
    """Whether a process runs and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
