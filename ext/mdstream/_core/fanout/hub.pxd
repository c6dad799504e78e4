"""Joins instruments, topics and sinks; the one that decides when what is sent."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.fanout.flush_scheduler cimport FlushTarget
from mdstream._core.fanout.heartbeats cimport Heartbeats
from mdstream._core.fanout.outbox cimport Outbox
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport TopicGroup, Topic

cdef class Hub(FlushTarget):
    cdef Outbox out
    cdef readonly uint64_t heartbeat_us
    cdef readonly uint64_t slow_limit_us
    cdef uint64_t slice_us
    cdef dict instrument_options
    cdef dict topic_groups           # Instrument → TopicGroup
    cdef dict names             # name → Instrument
    cdef dict by_key            # key → Topic
    cdef dict intervals         # ms → how many topics have it
    cdef public uint32_t stretch    # every interval is so many times as long: 1, unless the gateway cannot keep up
    cdef uint32_t last_number
    cdef TopicGroup dirty       # with something new: the first of a chain
    cdef list waiting           # topics with an interval and something to send when it ends
    cdef object costly          # topics that sum levels, with something to send, in turn
    cdef int64_t work_left      # levels that they may sum now
    cdef uint64_t work_us       # monotonic: until when that was refilled
    cdef object made            # key → Topic without a member yet; weak
    cdef list ahead             # topics with members that resumed ahead of them
    cdef set blocked            # sinks
    cdef public object on_arrival   # called with sink and topic of a subscription that is told apart no longer
    cdef Py_ssize_t subscriptions
    cdef Heartbeats heartbeats

    cdef int c_enter(self) except -1
    cdef int c_leave(self) except -1
    cdef int c_mark_filled(self) except -1
    cdef int c_tell_arrivals(self) except -1
    cdef int c_clock(self, uint64_t now_us, uint64_t wall_us) except -1
    cdef TopicGroup c_topic_group(self, object instrument)
    cdef int c_mark(self, object instrument) except -1
    cdef int c_mark_group(self, TopicGroup topic_group) except -1
    cdef TopicGroup c_next_dirty(self)
    cdef int c_enlist(self, Topic topic) except -1
    cdef int c_drop(self, Topic topic) except -1
    cdef int c_count_interval(self, Topic topic, int change) except -1
    cdef Py_ssize_t c_place(self, Sink sink, Topic topic) except -1
    cdef int c_remove(self, Sink sink, Py_ssize_t place) except -1
    cdef int c_send(self, Sink sink, int opcode, const char* payload, Py_ssize_t size) except -1
    cdef int c_blocked(self, Sink sink) except -1
    cdef int c_relieve(self, Sink sink) except -1
    cdef int c_catch_up_all(self, Sink sink) except -1
    cdef bint c_admit(self, Sink sink, Topic topic, object resume) except -1
    cdef int c_emit_due(self, Topic topic, uint64_t slack_us, bint its_turn) except -1
    cdef int c_refill_work(self) except -1
    cdef int c_serve_costly(self) except -1
    cdef int c_end_intervals(self) except -1
    cdef int c_serve_ahead(self) except -1
    cdef int c_end_slow(self) except -1
