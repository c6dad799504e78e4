from libc.stdint cimport int64_t, uint64_t

from mdstream._core.fanout.outbox cimport Frame, Outbox
from mdstream._core.fanout.topic cimport Member, Topic

cdef class TradesTopic(Topic):
    cdef int c_trades(self, Outbox out, int variant, uint64_t first, Frame* frame) except -1
    cdef int c_lost(self, Outbox out, int variant, uint64_t first, uint64_t last, Frame* frame) except -1
    cdef int c_emit_variant(self, Outbox out, int variant, uint64_t first, uint64_t oldest) except -1
    cdef int c_restart(self, Outbox out) except -1
    cdef int c_restart_member(self, Outbox out, int variant, Member* member) except -1
    cdef int c_control(self, Outbox out, int variant, bytes message, Frame* frame) except -1
