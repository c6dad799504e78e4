"""Joins instruments, topics and sinks. What it is made of: `topic_table`, `due`, `slow_sinks`, `heartbeats`, `outbox`."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.fanout.due cimport DueTopics
from mdstream._core.fanout.flush_scheduler cimport FlushTarget
from mdstream._core.fanout.heartbeats cimport Heartbeats
from mdstream._core.fanout.outbox cimport Outbox
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.slow_sinks cimport SlowSinks
from mdstream._core.fanout.topic cimport TopicGroup, Topic
from mdstream._core.fanout.topic_table cimport TopicTable

cdef class Hub(FlushTarget):
    cdef Outbox out
    cdef TopicTable table
    cdef DueTopics due
    cdef SlowSinks slow
    cdef Heartbeats heartbeats
    cdef readonly uint64_t heartbeat_us
    cdef readonly uint64_t slow_limit_us
    cdef TopicGroup dirty       # with something new: the first of a chain
    cdef public object on_arrival   # called with sink and topic of a subscription that is told apart no longer
    cdef Py_ssize_t subscriptions

    cdef int c_enter(self) except -1
    cdef int c_leave(self) except -1
    cdef int c_tell_arrivals(self) except -1
    cdef int c_clock(self, uint64_t now_us, uint64_t wall_us) except -1
    cdef int c_mark(self, object instrument) except -1
    cdef int c_mark_group(self, TopicGroup topic_group) except -1
    cdef TopicGroup c_next_dirty(self)
    cdef int c_enlist(self, Topic topic) except -1
    cdef int c_drop(self, Topic topic) except -1
    # After the intervals of the topics: how long what comes may wait, and how often `tick` is wanted.
    cdef int c_pace(self) except -1
    cdef Py_ssize_t c_place(self, Sink sink, Topic topic) except -1
    cdef bint c_subscribe(self, Sink sink, Topic topic, object resume) except -1
    # As `catch_up`; `answer` may be None.
    cdef int c_catch_up(self, Sink sink, Topic topic, bytes answer, uint64_t seen) except -1
    cdef bint c_admit(self, Sink sink, Topic topic, object resume) except -1
    cdef int c_remove(self, Sink sink, Py_ssize_t place) except -1
    cdef int c_send(self, Sink sink, int opcode, const char* payload, Py_ssize_t size) except -1
