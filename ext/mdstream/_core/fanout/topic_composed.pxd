from libc.stdint cimport uint64_t

from mdstream._core.fanout.outbox cimport Outbox
from mdstream._core.fanout.topic cimport Topic

cdef class ComposedTopic(Topic):
    cdef object source

    # All members in step are sent what leads to a number.
    cdef int c_publish(self, Outbox out, uint64_t seq, uint64_t ts_us) except -1
