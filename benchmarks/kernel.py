"""What Linux tells of its memory for sockets, of the memory of processes, and of what bounds the number of connections on one machine."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BYTES_EACH: Final = 12_000
"""Memory of a connection whose both ends are here, roughly: two sockets, a session, a client of the load test."""
SLABS: Final = (
    "TCP",
    "sock_inode_cache",
    "filp",  # codespell:ignore filp
    "dentry",
    "eventpoll_epi",
    "eventpoll_pwq",
    "skbuff_head_cache",
)
"""What a socket takes of the kernel's memory, by the names in ``/proc/slabinfo``."""
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel's memory now."""

    sockets: int
    """TCP sockets, both ends of a connection on loopback."""
    buffer_bytes: int
    """Of TCP: what was sent or received and is still held."""
    slab_bytes: int
    available_bytes: int
    """Of the machine, for whatever needs it."""
    slabs: dict[str, int]
    """Bytes in use of each of ``SLABS``; empty where only root may know."""
    cgroup_bytes: int | None
    """What the control group of this process is charged for sockets and other kernel objects; None where it is not told."""

    def since(self, before: Kernel, connections: int) -> dict[str, object]:
        """What has been added, for each connection."""
        slabs = {
            name: round((self.slabs[name] - before.slabs.get(name, 0)) / connections) for name in self.slabs
        }
        charged = None
        if self.cgroup_bytes is not None and before.cgroup_bytes is not None:
            charged = round((self.cgroup_bytes - before.cgroup_bytes) / connections)
        return {
            "slab_bytes": round((self.slab_bytes - before.slab_bytes) / connections),
            "buffer_bytes": round((self.buffer_bytes - before.buffer_bytes) / connections),
            "cgroup_bytes": charged,
            "slabs": {name: size for name, size in slabs.items() if size},
        }


def kernel() -> Kernel:
    sockstat = (_PROC / "net/sockstat").read_text()
    found = re.search(r"^TCP: inuse (\d+).* mem (\d+)$", sockstat, re.MULTILINE)
    meminfo = _meminfo()
    return Kernel(
        sockets=int(found[1]) if found else 0,
        buffer_bytes=int(found[2]) * resource.getpagesize() if found else 0,
        slab_bytes=meminfo.get("Slab", 0),
        available_bytes=meminfo["MemAvailable"],
        slabs=_slabs(),
        cgroup_bytes=_cgroup_bytes(),
    )


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory of processes in which shared pages count in part; of those that may be asked."""
    total = 0
    for pid in pids:
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", (_PROC / f"{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def system_s(pids: Iterable[int]) -> float:
    """CPU seconds of processes within system calls, in steps of 10 ms for each."""
    ticks = [text.rpartition(")")[2].split()[12] for pid in pids if (text := _text(f"{pid}/stat"))]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Something that bounds how many connections one machine can have with itself."""

    what: str
    value: int
    connections: int
    advice: str


def ceilings() -> list[Ceiling]:
    """Those of this machine that no arrangement of processes gets around, the lowest first.

    Ports are not among them: each address of 127.0.0.0/8 has its own. Nor is the number of files of a process: there may be more
    processes.
    """
    meminfo = _meminfo()
    found = [
        Ceiling("memory", meminfo["MemAvailable"], meminfo["MemAvailable"] // BYTES_EACH, "more memory"),
        _halved("fs.file-max", _number("sys/fs/file-max") - _number("sys/fs/file-nr")),
        _halved("fs.epoll.max_user_watches", _number("sys/fs/epoll/max_user_watches")),
    ]
    if _number("sys/net/netfilter/nf_conntrack_count"):
        tracked = _number("sys/net/netfilter/nf_conntrack_max")
        found.append(
            Ceiling("net.netfilter.nf_conntrack_max", tracked, tracked, "NOTRACK on loopback, or raise it")
        )
    return sorted((each for each in found if each.value > 0), key=lambda each: each.connections)


def _halved(what: str, value: int) -> Ceiling:
    """Both ends of a connection take one."""
    return Ceiling(what, value, value // 2, f"sysctl {what}")


def files_of_a_process(wanted: int = 0) -> int:
    """How many files one process may have open. From here on it holds for this process and those that it starts; ``wanted`` lowers it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _number("sys/fs/nr_open") if hard == resource.RLIM_INFINITY else hard
    most = min(most, wanted or most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def settings() -> dict[str, str]:
    """What else is worth knowing of the machine, by the names of sysctl."""
    names = (
        *("fs.nr_open", "fs.file-max", "net.ipv4.tcp_mem", "net.ipv4.ip_local_port_range"),
        *("net.core.somaxconn", "net.ipv4.tcp_ehash_entries", "net.netfilter.nf_conntrack_count"),
    )
    found = {name: _text(f"sys/{name.replace('.', '/')}") for name in names}
    return {name: " ".join(value.split()) for name, value in found.items() if value}


def _meminfo() -> dict[str, int]:
    lines = (_PROC / "meminfo").read_text().splitlines()
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


def _slabs() -> dict[str, int]:
    found = {}
    for line in _text("slabinfo").splitlines():
        fields = line.split()
        if fields[0] in SLABS:
            found[fields[0]] = int(fields[1]) * int(fields[3])
    return found


def _cgroup_bytes() -> int | None:
    """By version 2 of control groups, or by version 1."""
    for line in _text("self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        folder = Path("/sys/fs/cgroup") / ("memory" if controllers else "") / path.lstrip("/")
        if controllers == "memory" and (text := _read(folder / "memory.kmem.usage_in_bytes")):
            return int(text)
        if not controllers and (text := _read(folder / "memory.stat")):
            found = dict(re.findall(r"^(kernel|sock) (\d+)$", text, re.MULTILINE))
            return sum(map(int, found.values()))
    return None


def _number(name: str) -> int:
    """The first number of a file in /proc; 0 where there is none."""
    words = _text(name).split()
    return min(int(words[0]), 1 << 62) if words else 0


def _text(name: str) -> str:
    return _read(_PROC / name)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
