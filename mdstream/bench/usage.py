"""What processes use, read from the kernel: CPU to the nanosecond, resident memory, and what else the machine does.

Linux only. The CPU clock of a process (clock_getcpuclockid(3)) counts all its threads, also those that ended, and is not
rounded to ticks of 10 ms as ``/proc/PID/stat`` is.
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
    """The machine at one moment: CPU of every process in ns, by pid, and steal of all CPUs in seconds."""

    at_ns: int
    cpu_ns: dict[int, int]
    steal_s: float


@dataclass(frozen=True, slots=True)
class Window:
    """Between two moments."""

    begin: Moment
    end: Moment

    @property
    def seconds(self) -> float:
        return (self.end.at_ns - self.begin.at_ns) / 1e9

    @property
    def steal_s(self) -> float:
        return self.end.steal_s - self.begin.steal_s

    def cpu_s(self, pids: Iterable[int]) -> float:
        """Of these processes; one that began inside counts from its beginning, one that ended inside not at all."""
        return sum(self._cpu_ns(pid) for pid in pids) / 1e9

    def other_cpu_s(self, ours: Iterable[int]) -> float:
        """Of all processes but ours, threads of the kernel left out: they work for whoever makes them work."""
        mine = set(ours)
        return sum(self._cpu_ns(pid) for pid in self.end.cpu_ns if pid not in mine) / 1e9

    def busiest(self, ours: Iterable[int], count: int = 3) -> list[tuple[str, float]]:
        """The programs, other than ours, that used most, with seconds."""
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
    """CPU that a process has used, user and system, all threads; None if it is gone."""
    try:
        # How Linux numbers the CPU clock of another process: see CPUCLOCK_SCHED in the kernel's posix-timers.
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return None


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of processes; those that are gone count nothing."""
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
    """These processes and all that they started and that run."""
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
    """The name of what a process runs."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return f"pid {pid}"


def _with_parents() -> list[tuple[int, int]]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - a tenth of the time that paths take
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
