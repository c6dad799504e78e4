"""Reads from the kernel what processes use: CPU in nanoseconds, resident memory, and the load of other processes.

Linux only. The CPU clock of a process (clock_getcpuclockid(3)) counts all its threads, also those that have ended.
It is not rounded to ticks of 10 ms, unlike ``/proc/PID/stat``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mdstream.errors import BenchError

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine at one moment: CPU in ns of each process by pid, and steal of all CPUs in seconds."""

    at_ns: int
    cpu_ns: dict[int, int]
    steal_s: float


@dataclass(frozen=True, slots=True)
class Window:
    """The time between two moments."""

    begin: Moment
    end: Moment

    @property
    def seconds(self) -> float:
        return (self.end.at_ns - self.begin.at_ns) / 1e9

    @property
    def steal_s(self) -> float:
        return self.end.steal_s - self.begin.steal_s

    def cpu_s(self, pids: Iterable[int]) -> float:
        """CPU of these processes. One that started in the window counts from its start; one that ended in it does not count."""
        return sum(self._cpu_ns(pid) for pid in pids) / 1e9

    def other_cpu_s(self, ours: Iterable[int]) -> float:
        """CPU of all processes but ours. Kernel threads do not count: they work on behalf of processes."""
        mine = set(ours)
        return sum(self._cpu_ns(pid) for pid in self.end.cpu_ns if pid not in mine) / 1e9

    def busiest(self, ours: Iterable[int], count: int = 3) -> list[tuple[str, float]]:
        """The programs, ours apart, that used most CPU, with seconds."""
        mine = set(ours)
        used = sorted(((self._cpu_ns(pid), pid) for pid in self.end.cpu_ns if pid not in mine), reverse=True)
        return [(program(pid), ns / 1e9) for ns, pid in used[:count] if ns > 0]

    def _cpu_ns(self, pid: int) -> int:
        return self.end.cpu_ns.get(pid, 0) - self.begin.cpu_ns.get(pid, 0)


def sample() -> Moment:
    """The machine now."""
    cpu = {pid: ns for pid in processes() if (ns := cpu_ns(pid)) is not None}
    return Moment(time.monotonic_ns(), cpu, _steal_s())


def supported() -> None:
    """Raises BenchError where there is no /proc."""
    if not sys.platform.startswith("linux"):
        raise BenchError(
            f"mdstream bench reads CPU and memory from Linux' /proc; this is {sys.platform}."
            " Run it on Linux, in a container if need be"
        )


def cpu_ns(pid: int) -> int | None:
    """User and system time of a process, all threads; None if it has ended."""
    try:
        # The number that Linux gives to the CPU clock of a process: CPUCLOCK_SCHED in the kernel's posix-timers.
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return None


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of those of the processes that run."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            continue
    return total


def processes() -> list[int]:
    """All pids but those of kernel threads, which have no memory of their own."""
    return [pid for pid, _ in _with_parents()]


def tree(*roots: int) -> list[int]:
    """These processes and all their descendants that run."""
    children: dict[int, list[int]] = {}
    for pid, parent in _with_parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def program(pid: int) -> str:
    """The name of the program that a process runs."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return f"pid {pid}"


def _with_parents() -> list[tuple[int, int]]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - ten times as fast as paths
        if not name.isdigit():
            continue
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        state, parent, virtual_bytes = fields[0], int(fields[1]), int(fields[20])
        if state != "Z" and virtual_bytes:
            found.append((int(name), parent))
    return found


def _steal_s() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu "):
            return int(line.split()[8]) / _TICKS_PER_S
    return 0.0
