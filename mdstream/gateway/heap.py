"""Gives back to the system what the C library keeps though nobody uses it: after a storm, a process is soon as small as before."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

WORTH_BYTES: Final = 4 << 20
"""Less than this stays: it will be used again."""
_STATM: Final = Path("/proc/self/statm")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def memory_bytes() -> int:
    """What this process has in memory; 0 where the system does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def free_bytes() -> int:
    """What the C library has free between blocks that live on (glibc ≥ 2.33); 0 where it does not tell."""
    with suppress(AttributeError):
        mallinfo2 = ctypes.CDLL(None).mallinfo2
        mallinfo2.restype = _Mallinfo2
        return int(mallinfo2().fordblks)
    return 0


def trim() -> None:
    """Has the C library (glibc) give back what is free."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Heap:
    """``look`` every few seconds."""

    def __init__(
        self,
        *,
        memory: Callable[[], int] = memory_bytes,
        free: Callable[[], int] = free_bytes,
        trim: Callable[[], None] = trim,
    ) -> None:
        self._memory, self._free, self._trim = memory, free, trim
        self._least = memory()
        """The least since something was given back."""

    def look(self) -> None:
        """Asks what is free only once the process has grown: asking takes longer the more pieces there are."""
        memory = self._memory()
        self._least = min(self._least, memory)
        if memory - self._least < WORTH_BYTES:
            return
        if self._free() >= WORTH_BYTES:
            self._trim()
            self._least = self._memory()
