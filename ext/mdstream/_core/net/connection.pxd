"""Connections on plain TCP. One epoll descriptor serves all of them: the event loop has no object and no callback for each."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.fanout.hub cimport Hub

cdef class ConnectionHandler:
    cdef int c_received(self, char* data, Py_ssize_t size) except -1
    # The peer sends no more.
    cdef int c_eof(self) except -1
    # All pending bytes were sent, or it was asked for again.
    cdef int c_drained(self) except -1
    # The connection has ended: nothing follows.
    cdef int c_lost(self) except -1

cdef class Connections:
    cdef int epoll
    cdef object loop
    cdef Hub hub                # or None: what is sent in a turn leaves in one write for each, and in one system call for many
    cdef object space           # bytearray: what was read last
    cdef PyObject** connections  # in no order; owned
    cdef Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef object ended           # deque: to be closed
    cdef bint reaping           # that was asked of the event loop
    cdef int left               # where to go on among those that are ready, if time was up
    cdef bint running
    cdef bint closed

    cdef int c_serve_ready(self) except -1
    cdef int c_serve(self, Connection connection, uint32_t events) except -1
    cdef int c_add(self, Connection connection) except -1
    cdef int c_remove(self, Connection connection) except -1
    cdef int c_end(self, Connection connection) except -1
    cdef int c_reap_soon(self) except -1
    cdef int c_reap(self) except -1

cdef enum ConnectionState:
    CONNECTION_OPEN = 0
    CONNECTION_HALF_CLOSED = 1
    CONNECTION_CLOSING = 2
    CONNECTION_ENDED = 3
    CONNECTION_CLOSED = 4

cdef class Connection:
    cdef Connections connections
    cdef ConnectionHandler handler
    cdef readonly int fd
    cdef Py_ssize_t index       # in connections
    cdef Buffer pending
    cdef Py_ssize_t sent        # of it
    cdef uint32_t watched       # events that the kernel reports
    cdef uint8_t state          # ConnectionState
    cdef bint paused            # nothing is read
    cdef bint asked             # the handler is to be called when it can be written to, though nothing is pending

    # What the constructor does.
    cdef int c_begin(self, Connections connections, int fd, ConnectionHandler handler) except -1
    # The only place where the state changes.
    cdef void c_set_state(self, ConnectionState state) noexcept

    cdef int c_watch(self) except -1
    cdef int c_on_event(self, uint32_t events) except -1
    cdef int c_read(self) except -1
    cdef int c_writable(self) except -1
    cdef int c_send_pending(self) except -1
    # Calls c_drained once more, after what else is ready had its turn.
    cdef int c_ask_again(self) except -1
    # Ends it; the kernel still delivers what it took.
    cdef int c_finish(self) except -1
    cdef Py_ssize_t c_pending(self) noexcept
    cdef int c_queue(self, const char* data, Py_ssize_t size) except -1
