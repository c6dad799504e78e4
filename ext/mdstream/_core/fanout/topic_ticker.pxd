from libc.stdint cimport uint64_t

from mdstream._core.codec.message cimport Head, Quote
from mdstream._core.fanout.outbox cimport Frame, Outbox
from mdstream._core.fanout.topic cimport Topic

cdef struct Quotes:
    Quote bid
    Quote ask
    Quote last

cdef class TickerTopic(Topic):
    cdef Quotes quotes

    cdef bint c_take(self, Outbox out) except -1
    cdef int c_forget_resumes(self) except -1
    # What the topic stands at, as sent to all.
    cdef int c_ticker(self, Outbox out, int variant, Frame* frame) except -1
    cdef int c_newest(self, Outbox out, int variant, Frame* frame) except -1
    cdef int c_encode(self, Outbox out, int variant, const Head* head, const Quotes* quotes, Frame* frame) except -1
