"""When memory goes back to the system, and that the C library here does it."""

from __future__ import annotations

import ctypes

from mdstream.gateway import heap
from mdstream.gateway.heap import WORTH_BYTES, Heap

BEGAN = 100 << 20


class Process:
    """What it has, and how much of that is free."""

    def __init__(self) -> None:
        self.memory, self.free, self.asked, self.trims = BEGAN, 0, 0, 0
        self.heap = Heap(memory=lambda: self.memory, free=self.ask, trim=self.trim)

    def ask(self) -> int:
        self.asked += 1
        return self.free

    def trim(self) -> None:
        self.trims += 1
        self.memory -= self.free
        self.free = 0

    def look(self) -> int:
        self.heap.look()
        return self.trims


def test_what_a_storm_left_goes_back() -> None:
    process = Process()
    process.memory, process.free = BEGAN + 2 * WORTH_BYTES, 2 * WORTH_BYTES
    assert process.look() == 1 and process.memory == BEGAN
    assert process.look() == 1 and process.asked == 1, "nothing has grown since"


def test_a_process_that_needs_what_it_has_is_left_alone_until_it_does_not() -> None:
    process = Process()
    process.memory = BEGAN + 3 * WORTH_BYTES
    assert process.look() == 0 and process.asked == 1
    process.free = 3 * WORTH_BYTES
    assert process.look() == 1 and process.memory == BEGAN


def test_a_little_is_not_worth_it() -> None:
    process = Process()
    process.memory = process.free = BEGAN + WORTH_BYTES - 1
    assert process.look() == process.asked == 0


def test_after_memory_has_become_less_growth_counts_from_there() -> None:
    process = Process()
    process.memory = BEGAN // 2
    assert process.look() == 0
    process.memory = process.free = BEGAN // 2 + WORTH_BYTES
    assert process.look() == 1


def test_the_c_library_here_gives_back_what_is_free_between_blocks() -> None:
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        assert heap.free_bytes() == 0
        return
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    blocks = [libc.malloc(60_000) for _ in range(1_000)]
    for block in blocks:
        ctypes.memset(block, 1, 60_000)
    was = heap.memory_bytes()
    for block in blocks[:-1:2] + blocks[1:-1:2]:  # the last one keeps the others from the end of the heap
        libc.free(block)
    assert heap.free_bytes() > 50_000_000
    heap.trim()
    assert heap.memory_bytes() < was - 40_000_000
    libc.free(blocks[-1])
