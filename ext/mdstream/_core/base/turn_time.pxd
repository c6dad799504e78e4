"""What is left of a turn of the event loop for the work of sessions."""

from libc.stdint cimport int64_t

cdef class TurnTime:
    cdef public int64_t _left_us
    cdef public int64_t _slice_us
    cdef public dict _waiting       # who has work that is not done
    cdef public object _clock_us
    cdef bint own_clock

    # Whether work of `who` that is no longer than a step may be done now.
    cdef bint c_may_begin(self, object who) except -1
    cdef int64_t c_clock_us(self) except? -1
    # Such work has been done since then.
    cdef int c_spend_since(self, int64_t began_us) except -1
