"""When a topic sends what is new: at once, at the end of its interval, or in its turn."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.fanout.outbox cimport Outbox
from mdstream._core.fanout.topic cimport Topic

cdef enum:
    TICK_US = 50000             # the pace of `Hub.tick`, unless an interval is shorter

cdef class DueTopics:
    cdef Outbox out
    cdef uint32_t stretch       # every interval is so many times as long
    cdef uint64_t slack_us      # half the pace of `Hub.tick`: what ends within it is sent now
    cdef uint64_t undelayed     # messages of topics without an interval so far
    cdef list waiting           # topics with an interval and something to send when it ends
    cdef object costly          # topics that sum levels, with something to send, in turn
    cdef int64_t work_left      # levels that they may sum now
    cdef uint64_t work_us       # monotonic: until when that was refilled
    cdef list ahead             # topics with members that resumed ahead of them

    # Whether a tick is wanted within the pace of `Hub.tick`.
    cdef bint c_waits(self) except -1
    # Emits, or, within the topic's interval or before its turn, remembers to.
    cdef int c_emit(self, Topic topic, uint64_t slack_us, bint its_turn) except -1
    # Grouped views, in turn, until what they may cost is spent.
    cdef int c_serve_costly(self) except -1
    cdef int c_refill_work(self) except -1
    # What time brings: intervals that ended, resumes that came true or never did, and turns.
    cdef int c_tick(self) except -1
    cdef int c_end_intervals(self) except -1
    cdef int c_serve_ahead(self) except -1
    # A member of the topic waits ahead of it.
    cdef int c_add_ahead(self, Topic topic) except -1
    # The topic has ended.
    cdef int c_forget(self, Topic topic) except -1
