"""A hub whose flushes and ticks are methods of a Python subclass."""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.fanout.flush_scheduler cimport FlushTarget


cdef class ScriptedHub(FlushTarget):
    """Subclass it with ``flush(now_us, wall_us)`` and ``tick(now_us, wall_us)``."""

    cdef public bint changed
    cdef public bint waits

    def allow_defer(self, defer_us: int) -> None:
        self.defer_us = defer_us

    def count_undelayed(self) -> None:
        self.undelayed += 1

    cdef bint c_changed(self) except -1:
        return self.changed

    cdef bint c_waits(self) except -1:
        return self.waits

    cdef int64_t c_flush(self, uint64_t now_us, uint64_t wall_us) except -1:
        self.flush(now_us, wall_us)
        return 0

    cdef int64_t c_tick(self, uint64_t now_us, uint64_t wall_us) except -1:
        self.tick(now_us, wall_us)
        return 0
