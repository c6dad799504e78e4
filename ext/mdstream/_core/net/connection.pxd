"""Connections on plain TCP, many behind one epoll descriptor: no object of the event loop's, and no turn of it, for each of them."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t

from mdstream._core.base.buffer cimport Buffer

cdef class Peer:
    """What a connection tells of; errors that these raise end the connection."""
    cdef int c_received(self, char* data, Py_ssize_t size) except -1
    # The other side sends no more.
    cdef int c_eof(self) except -1
    # What waited in the connection has been sent.
    cdef int c_drained(self) except -1
    # The end: nothing follows, and the descriptor is closed after it.
    cdef int c_lost(self) except -1

cdef class Connections:
    cdef int epoll
    cdef object loop
    cdef object space           # bytearray: what came from one of them just now
    cdef PyObject** connections       # all of them, in no order; owned
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef list ended             # to be told so, and closed
    cdef bint running
    cdef bint closed

    cdef int c_serve(self, Connection connection, uint32_t events) except -1
    cdef int c_add(self, Connection connection) except -1
    cdef int c_remove(self, Connection connection) except -1
    cdef int c_end(self, Connection connection) except -1
    cdef int c_reap(self) except -1

cdef class Connection:
    cdef Connections connections
    cdef Peer peer
    cdef readonly int fd
    cdef Py_ssize_t index       # in connections
    cdef Buffer pending
    cdef Py_ssize_t sent        # of it
    cdef uint32_t watched
    cdef bint eof_due
    cdef bint closing
    cdef bint ended

    cdef int c_watch(self) except -1
    cdef int c_on_event(self, uint32_t events) except -1
    cdef int c_read(self) except -1
    cdef int c_send_pending(self) except -1
    cdef Py_ssize_t c_pending(self) noexcept
    cdef int c_keep(self, const char* data, Py_ssize_t size) except -1
