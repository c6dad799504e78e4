"""One client's WebSocket. The only module that knows picows, and a socket."""

from libc.stdint cimport uint8_t

from picows.picows cimport WSFrame, WSListener, WSTransport

from mdstream._core.assembly cimport Assembly
from mdstream._core.hub cimport Hub
from mdstream._core.sink cimport Delivery, Sink
from mdstream._core.wsparser cimport Parser

cdef enum State:
    STATE_NEW = 0
    STATE_OPEN = 1
    STATE_CLOSING = 2       # a close frame was sent
    STATE_ENDING = 3        # what the peer still sends is of no interest
    STATE_CLOSED = 4

cdef class SessionSink(Sink):
    cdef Session session
    cdef WSTransport transport
    cdef Py_ssize_t control_backlog

    cdef bint c_leave_to_transport(self, const Delivery* first, Py_ssize_t skip, Py_ssize_t size) except? False
    cdef int c_broken(self) except -1

cdef class Session(WSListener):
    cdef readonly Hub hub
    cdef readonly SessionSink sink
    cdef readonly WSTransport transport
    cdef public object context
    cdef object on_open
    cdef object on_message
    cdef object on_close
    cdef object timer           # of the closing handshake
    cdef Parser parser
    cdef Assembly assembly
    cdef object read_view       # memoryview of hub.read_space
    cdef int read_buffer
    cdef Py_ssize_t max_message
    cdef Py_ssize_t max_frame   # as it comes: what cannot be compressed grows by it
    cdef int send_buffer
    cdef int notsent_lowat
    cdef double close_timeout_s
    cdef int code               # the close code for on_close; 0: not known yet
    cdef uint8_t state
    cdef uint8_t opcode         # of messages in either direction
    cdef bint any_type

    cdef int c_set_socket_options(self) except -1
    cdef int c_call(self, object callback, object argument) except -1
    cdef int c_take_over(self) except -1
    cdef int c_parse(self, char* at, char* end) except -1
    cdef int c_on_frame(self, uint8_t opcode, bint fin, bint packed, const char* data, Py_ssize_t size) except -1
    cdef int c_on_data(self, uint8_t opcode, bint fin, bint packed, const char* data, Py_ssize_t size) except -1
    cdef int c_on_packed(self, const char* data, Py_ssize_t size) except -1
    cdef int c_on_close_frame(self, const char* payload, Py_ssize_t size) except -1
    cdef int c_fail(self, int code, str why=*) except -1
    cdef int c_shut(self, int code, str reason) except -1
    cdef int c_hang_up(self) except -1
