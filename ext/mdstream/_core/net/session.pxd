"""One client's WebSocket, on a `Connection` or on an asyncio transport."""

from libc.stdint cimport uint8_t

from mdstream._core.base.budget cimport Bucket
from mdstream._core.websocket.message_assembler cimport MessageAssembler
from mdstream._core.net.session_group cimport SessionGroup
from mdstream._core.net.session_sink cimport SessionSink
from mdstream._core.net.connection cimport ConnectionHandler
from mdstream._core.websocket.frame_parser cimport FrameParser, Piece

cdef enum SessionState:
    SESSION_NEW = 0
    SESSION_OPEN = 1
    SESSION_CLOSING = 2
    SESSION_ENDING = 3
    SESSION_CLOSED = 4

cdef class Session(ConnectionHandler):
    cdef readonly SessionGroup group
    cdef readonly SessionSink sink
    cdef readonly object transport
    cdef public object context
    cdef bytearray head         # of an upgrade request, until it is whole; then what comes before its answer
    cdef FrameParser parser
    cdef MessageAssembler assembler
    cdef Bucket control_frames
    cdef Bucket input_bytes
    cdef bytes unanswered       # the newest ping's payload, if there were too many to answer each
    cdef bytearray kept         # read, but not parsed: input is paused
    cdef Py_ssize_t kept_at     # of it, what is parsed
    cdef int code               # the close code for on_close; 0: not known yet
    cdef uint8_t state          # SessionState
    cdef uint8_t opcode         # of messages in either direction
    cdef uint8_t counted        # among the group's connections
    cdef uint8_t asked          # its upgrade request was passed on; the answer may take a while
    cdef uint8_t paused         # input is
    cdef uint8_t parsing        # c_parse is running

    # What the constructor does.
    cdef int c_begin(self, SessionGroup group) except -1
    # Its connection, one of this room, is there.
    cdef void c_on_connection(self, object transport) noexcept
    # The only place where the state changes.
    cdef int c_set_state(self, SessionState state) except -1
    cdef int c_call(self, object callback, object argument) except -1
    cdef int c_ask_again(self) except -1
    cdef int c_open(self, bytes response) except -1
    cdef Py_ssize_t c_max_frame(self) noexcept
    cdef int c_collect_request(self, char* data, Py_ssize_t size) except -1
    cdef int c_keep_early(self, const char* data, Py_ssize_t size) except -1
    cdef int c_parse_early(self) except -1
    # Returns how many bytes it took: fewer than there are, if input is paused meanwhile.
    cdef Py_ssize_t c_parse(self, char* data, Py_ssize_t size) except -1
    cdef int c_input(self, char* data, Py_ssize_t size) except -1
    cdef int c_parse_kept(self) except -1
    cdef int c_limit_closing(self) except -1
    cdef int c_abort(self) except -1
    # Whether another control frame, or a fragment as small as one, is within the budget.
    cdef int c_count_control(self) except -1
    cdef int c_on_ping(self, const char* payload, Py_ssize_t size) except -1
    cdef int c_answer_newest(self) except -1
    # Whether a message of so many bytes more is within the budget; charged before it is looked at.
    cdef bint c_afford(self, Py_ssize_t size) except -1
    cdef int c_tell_limited(self, str kind) except -1
    cdef int c_on_frame(self, const Piece* piece) except -1
    cdef int c_on_data(self, const Piece* piece) except -1
    cdef int c_on_compressed(self, const char* data, Py_ssize_t size) except -1
    cdef int c_on_close_frame(self, const char* payload, Py_ssize_t size) except -1
    cdef int c_fail(self, int code, str why=*) except -1
    cdef int c_send_close(self, int code, str reason) except -1
    cdef int c_end_connection(self) except -1
