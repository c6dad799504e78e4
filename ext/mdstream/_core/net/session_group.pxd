"""What all sessions of one listener have in common: whom they tell, what bounds them, and who of them is running out of time."""

from libc.stdint cimport uint64_t

from mdstream._core.fanout.hub cimport Hub

cdef class SessionGroup:
    cdef readonly Hub hub
    cdef object on_request
    cdef object on_open
    cdef object on_message
    cdef object on_close
    cdef object read_space      # bytearray: what came just now, by way of a transport of asyncio's
    cdef Py_ssize_t max_message
    cdef Py_ssize_t max_packed  # as it comes: what cannot be compressed grows by it
    cdef Py_ssize_t control_backlog
    cdef bint any_type
    cdef readonly Py_ssize_t max_connections
    cdef readonly Py_ssize_t connections
    # Session → when its time is up, monotonic µs; each in the order of that, for all have the same time.
    cdef dict handshakes
    cdef dict closings
    cdef uint64_t handshake_us
    cdef uint64_t close_us

    # True if there is room for it.
    cdef bint c_begin(self, object session) except -1
    cdef int c_closing(self, object session) except -1
    cdef int c_end(self, object session, bint counted) except -1
