"""Who takes the messages of which subscription."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

cdef class Receiver:
    """Takes the messages of one subscription without a Python object for each; as a handler it may be called as any other."""

    # The pointers are valid during the call only.
    cdef int c_receive(self, const char* subject, Py_ssize_t subject_size,
                       const char* payload, Py_ssize_t payload_size) except -1
    # This payload will follow soon: has the memory fetched that taking it will need.
    cdef void c_prefetch(self, const char* payload, Py_ssize_t size) noexcept nogil

cdef struct Entry:
    int64_t sid             # -1: free
    PyObject* handler       # borrowed
    Py_ssize_t receiver_bytes   # of the object, if it is a Receiver; else 0

cdef class Handlers:
    cdef dict owned         # by number
    cdef Entry* entries     # the same, open addressing: a subscription stands at its number or soon after it
    cdef int64_t mask       # slots - 1

    cdef const Entry* c_find(self, int64_t sid) noexcept nogil      # NULL: none
    cdef int c_grow(self) except -1
    cdef void c_put(self, int64_t sid, object handler) noexcept
    cdef void c_take_out(self, int64_t sid) noexcept nogil
