from libc.stdint cimport int64_t

from mdstream._core.base.clock cimport monotonic_us


def now_us() -> int:
    """The monotonic time."""
    return monotonic_us()


cdef class TurnTime:
    """The base of ``mdstream.gateway.turns.Turns``, which says what is done in which turn: here is what a ``subscribe`` needs of it."""

    def __init__(self, slice_us: int, clock_us=None) -> None:
        """``clock_us`` None: the monotonic clock."""
        self._slice_us = self._left_us = slice_us
        self._waiting = {}
        self.own_clock = clock_us is None
        self._clock_us = now_us if clock_us is None else clock_us

    cdef bint c_may_begin(self, object who) except -1:
        return self._left_us > 0 and who not in self._waiting

    cdef int64_t c_clock_us(self) except? -1:
        return <int64_t>monotonic_us() if self.own_clock else self._clock_us()

    cdef int c_spend_since(self, int64_t began_us) except -1:
        self._left_us -= self.c_clock_us() - began_us
        if self._left_us < self._slice_us // 2:
            self._ask_for_turn()
        return 0

    def _ask_for_turn(self) -> None:
        """Has the loop begin a new turn."""
        raise NotImplementedError
