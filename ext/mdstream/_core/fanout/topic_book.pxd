from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mdstream._core.codec.message cimport Reason
from mdstream._core.codec.variant cimport VARIANTS
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.fanout.outbox cimport Frame, Outbox
from mdstream._core.fanout.topic cimport Member, Topic

cdef struct Snapshot:           # the frame of one for the topic's present number
    char* data
    Py_ssize_t size
    uint8_t reason

cdef class BookTopic(Topic):
    cdef bint full              # all levels, ungrouped: deltas come straight from the log
    cdef uint32_t loads
    cdef uint32_t crc
    cdef Levels view_bids       # unless full: the view as it was last sent
    cdef Levels view_asks
    cdef Snapshot[VARIANTS] snapshots

    cdef int c_take(self, Outbox out) except -1
    cdef int c_changes(self, Outbox out) except -1
    cdef int c_replace(self, Outbox out, Reason reason) except -1
    cdef bint c_between(self, Outbox out, uint64_t since) except -1
    cdef int c_delta(self, Outbox out, int variant, uint64_t since, Frame* frame) except -1
    cdef int c_snapshot(self, Outbox out, int variant, Reason reason, Frame* frame) except -1
    cdef int c_send_shorter(self, Outbox out, Member* member, bint snapshot) except -1
    cdef uint32_t c_shared_crc(self, Outbox out) except? 0
    cdef bint c_awaited(self) noexcept
    cdef int c_restart(self, Outbox out, Reason reason) except -1
    cdef Py_ssize_t c_levels(self) except -1
    cdef void c_count(self, Outbox out, Member* member, bint snapshot) noexcept
