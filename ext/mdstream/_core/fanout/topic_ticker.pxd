from libc.stdint cimport uint64_t

from mdstream._core.codec.message cimport Quote
from mdstream._core.fanout.outbox cimport Frame, Outbox
from mdstream._core.fanout.topic cimport Topic

cdef class TickerTopic(Topic):
    cdef Quote bid
    cdef Quote ask
    cdef Quote last

    cdef bint c_take(self, Outbox out) except -1
    cdef int c_ticker(self, Outbox out, int variant, Frame* frame) except -1
