from libc.stdint cimport uint64_t

from mdstream._core.encode cimport Quote
from mdstream._core.outbox cimport Frame, Outbox
from mdstream._core.topic cimport Topic

cdef class TickerTopic(Topic):
    cdef Quote bid
    cdef Quote ask
    cdef Quote last

    cdef bint c_look(self, Outbox out) except -1
    cdef int c_ticker(self, Outbox out, int form, Frame* frame) except -1
