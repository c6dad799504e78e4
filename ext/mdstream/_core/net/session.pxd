"""One client's WebSocket. The only module, beside `connection`, that knows a socket."""

from libc.stdint cimport uint8_t

from mdstream._core.websocket.message_assembler cimport MessageAssembler
from mdstream._core.net.session_group cimport SessionGroup
from mdstream._core.fanout.sink cimport Delivery, Sink
from mdstream._core.net.connection cimport Peer
from mdstream._core.websocket.frame_parser cimport FrameParser

cdef enum State:
    STATE_NEW = 0           # the upgrade is not decided yet
    STATE_OPEN = 1
    STATE_CLOSING = 2       # a close frame was sent
    STATE_ENDING = 3        # what the peer still sends is of no interest
    STATE_CLOSED = 4

cdef class SessionSink(Sink):
    cdef Session session
    cdef object transport       # None once it is gone
    cdef Py_ssize_t control_backlog

    cdef bint c_leave_to_transport(self, const Delivery* first, Py_ssize_t skip, Py_ssize_t size) except? False
    cdef int c_broken(self) except -1

cdef class Session(Peer):
    cdef readonly SessionGroup group
    cdef readonly SessionSink sink
    cdef readonly object transport
    cdef public object context
    cdef bytearray head         # of an upgrade request that is not whole yet
    cdef FrameParser parser
    cdef MessageAssembler assembler
    cdef int code               # the close code for on_close; 0: not known yet
    cdef uint8_t state
    cdef uint8_t opcode         # of messages in either direction
    cdef bint counted           # among the group's connections

    cdef int c_call(self, object callback, object argument) except -1
    cdef int c_open(self, bytes response) except -1
    cdef Py_ssize_t c_max_frame(self) noexcept
    cdef int c_greet(self, char* data, Py_ssize_t size) except -1
    cdef int c_parse(self, char* at, char* end) except -1
    cdef int c_on_frame(self, uint8_t opcode, bint fin, bint packed, const char* data, Py_ssize_t size) except -1
    cdef int c_on_data(self, uint8_t opcode, bint fin, bint packed, const char* data, Py_ssize_t size) except -1
    cdef int c_on_packed(self, const char* data, Py_ssize_t size) except -1
    cdef int c_on_close_frame(self, const char* payload, Py_ssize_t size) except -1
    cdef int c_fail(self, int code, str why=*) except -1
    cdef int c_shut(self, int code, str reason) except -1
    cdef int c_hang_up(self) except -1
