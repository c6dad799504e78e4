"""What all sessions of one listener share: their callbacks, their limits, and the deadlines of their handshakes and closings."""

from libc.stdint cimport uint64_t

from mdstream._core.base.budget cimport Allowance
from mdstream._core.fanout.hub cimport Hub

cdef class SessionGroup:
    cdef readonly Hub hub
    cdef object on_request
    cdef object on_open
    cdef public object on_message
    cdef public object on_close
    cdef object on_gone         # None: nobody asks
    cdef object on_limited
    cdef public object call_soon    # of the event loop
    cdef object read_space      # bytearray: what an asyncio transport read last
    cdef Py_ssize_t max_message
    cdef Py_ssize_t max_compressed  # the same compressed: what cannot be compressed grows a little
    cdef Py_ssize_t control_backlog
    cdef public Py_ssize_t max_unread
    cdef readonly Py_ssize_t unread     # bytes that wait in memory for peers that do not read, at the last tick
    cdef uint64_t stuck_us
    cdef Allowance control_frames
    cdef Allowance input_bytes
    cdef bint any_type          # text or binary, whatever the format
    cdef readonly Py_ssize_t max_connections
    cdef Py_ssize_t max_sockets     # with those that are being closed
    cdef readonly Py_ssize_t connections
    # Session → its deadline, monotonic µs; in the order of the deadlines, as all sessions get the same time
    cdef dict handshakes
    cdef dict closings
    cdef object overdue         # deque: of either, with the dict in which it is
    cdef uint64_t handshake_us
    cdef uint64_t close_us

    # A new session; True if there is room for it.
    cdef bint c_add(self, object session) except -1
    # Its connection must end in time; from here on it takes no place of another one.
    cdef int c_limit_closing(self, object session, bint counted) except -1
    cdef int c_drop_oldest(self) except -1
    cdef int c_bound_unread(self, uint64_t now_us) except -1
    cdef int c_remove(self, object session, bint counted) except -1
