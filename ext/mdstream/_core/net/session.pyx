"""The I/O around upgrade request, frame parser and message assembler. What is sent leaves through `session_sink`."""

cimport cython

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from mdstream._core.websocket.message_assembler cimport FED_WHOLE, assembler_feed, assembler_free, close_code, is_utf8
from mdstream._core.base.budget cimport bucket_fill, bucket_take
from mdstream._core.base.check cimport check
from mdstream._core.base.clock cimport monotonic_us
from mdstream._core.codec.deflate cimport decompress
from mdstream._core.net.connection cimport Connection
from mdstream._core.net.secure_connection cimport SecureConnection
from mdstream._core.net.socket_send cimport reset_on_close, undelivered
from mdstream._core.websocket.frame cimport (
    OP_BINARY, OP_CLOSE, OP_CONTINUATION, OP_PING, OP_PONG, OP_TEXT, header_size, put_header
)
from mdstream._core.websocket.frame_parser cimport frame_parser_free, frame_parser_next

from mdstream.codes import CloseCode
from mdstream.errors import SessionClosed

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <string.h>
    """
    void* memmem(const void* data, size_t size, const void* wanted, size_t wanted_size) nogil

cdef enum:
    MAX_HEAD = 16384            # bytes of an upgrade request
    MAX_REASON = 123            # bytes: a control frame's 125 without the code
    TINY_FRAGMENT = 16          # bytes: a smaller one costs as much as a control frame

cdef int NORMAL = CloseCode.NORMAL
cdef int PROTOCOL_ERROR = CloseCode.PROTOCOL_ERROR
cdef int WRONG_FRAME_TYPE = CloseCode.WRONG_FRAME_TYPE
cdef int NO_CODE = CloseCode.NO_CODE
cdef int ABNORMAL = CloseCode.ABNORMAL
cdef int NOT_UTF8 = CloseCode.NOT_UTF8
cdef int TOO_BIG = CloseCode.TOO_BIG
cdef int INTERNAL_ERROR = CloseCode.INTERNAL_ERROR
cdef int RATE_LIMIT = CloseCode.RATE_LIMIT
cdef dict VIOLATIONS = {
    PROTOCOL_ERROR: "a frame that the WebSocket protocol does not allow here",
    NOT_UTF8: "text that is not UTF-8",
    TOO_BIG: "the message is too big",
    INTERNAL_ERROR: "there is no memory for a frame",
}
cdef str CORRUPT = "a compressed message that is corrupt"
cdef object logger = logging.getLogger("mdstream.session")


cdef inline double now_s() noexcept nogil:
    return monotonic_us() / 1e6


cdef int descriptor_of(object transport) except -2:
    """Of an asyncio transport, or -1 if it has none any more."""
    socket = transport.get_extra_info("socket")
    return -1 if socket is None else socket.fileno()


cdef bint is_ours(object transport) noexcept:
    """Whether it is a connection of this room, not a transport of the event loop."""
    return isinstance(transport, Connection) or isinstance(transport, SecureConnection)


cdef bytes clipped(str reason):
    """At most MAX_REASON bytes of UTF-8, in whole characters."""
    if not reason:
        return b""
    return reason.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore").encode()


cdef bytes close_frame(int code, bytes reason):
    cdef Py_ssize_t size = 2 + len(reason)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, header_size(size) + size)
    cdef char* at = PyBytes_AS_STRING(frame)
    put_header(at, OP_CLOSE, size)
    at += header_size(size)
    at[0] = <char>(code >> 8)
    at[1] = <char>code
    memcpy(at + 2, PyBytes_AS_STRING(reason), len(reason))
    return frame


cdef bint may_become(uint8_t before, uint8_t after) noexcept nogil:
    """The table in `Session`."""
    if after == SESSION_ENDING:
        return before == SESSION_NEW or before == SESSION_CLOSING
    return after == before + 1 or after == SESSION_CLOSED


@cython.no_gc              # it ends in `c_lost`, which lets go of its connection: so the collector need not look at each
cdef class Session(ConnectionHandler):
    """One client's WebSocket on the server: whole messages in, frames out, closed as RFC 6455 requires.

    It is the handler of a ``Connection`` or, with TLS, of a ``SecureConnection``; on systems without epoll the protocol of an asyncio
    transport. ``sink`` is there once it is accepted, ``transport`` from the connection to its end; ``context`` is free for use by the
    callbacks.

    ======= =========================================== ================================
    state   entered by                                  next
    ======= =========================================== ================================
    NEW     the constructor                             OPEN, ENDING, CLOSED
    OPEN    ``accept``                                  CLOSING, CLOSED
    CLOSING our close frame, sent first or as an answer ENDING, CLOSED
    ENDING  the peer's close frame, a violation after   CLOSED
            ours, or ``refuse``: input is dropped
    CLOSED  the end of the connection
    ======= =========================================== ================================
    """

    def __init__(self, group: SessionGroup) -> None:
        self.c_begin(group)

    cdef int c_begin(self, SessionGroup group) except -1:
        self.group = group
        self.counted = group.c_add(self)
        return 0

    cdef void c_on_connection(self, object transport) noexcept:
        self.transport = transport

    def __dealloc__(self) -> None:
        assembler_free(&self.assembler)
        frame_parser_free(&self.parser)

    @property
    def surplus(self) -> bool:
        """Whether there were ``max_connections`` already when it came."""
        return not self.counted

    @property
    def format(self) -> int:
        return self.sink.format

    @property
    def open(self) -> bool:
        """From ``on_open`` to the first close frame of either side, or until writing to it fails."""
        return self.state == SESSION_OPEN and not self.sink.closed

    @property
    def bytes_pending(self) -> int:
        """Bytes that wait for the peer to read."""
        if self.transport is None:
            return 0
        return self.sink.pending + self.transport.get_write_buffer_size()

    @property
    def last_received_us(self) -> int:
        """Hub time of the newest frame from the peer, pongs included."""
        return self.sink.heard_us

    cdef int c_set_state(self, SessionState state) except -1:
        check(may_become(self.state, state))
        self.state = state
        return 0

    # ---- the answer to the upgrade request

    def accept(self, response: bytes, format: int, window_bits: int = 0) -> None:
        """Opens it. ``response`` is the whole answer to the upgrade request; it leaves together with what ``on_open`` sends.

        ``window_bits``: the greatest window towards the peer, 9 to 15, if permessage-deflate was agreed on, both ways without
        context takeover.
        """
        if self.state != SESSION_NEW:
            return
        self.sink = SessionSink.__new__(SessionSink)
        self.sink.c_open(self, self.transport, format, window_bits, self.group.control_backlog)
        self.parser.compression = window_bits > 0
        bucket_fill(&self.control_frames, &self.group.control_frames, now_s())
        bucket_fill(&self.input_bytes, &self.group.input_bytes, now_s())
        self.opcode = OP_BINARY if format else OP_TEXT
        self.group.handshakes.pop(self, None)
        self.c_set_state(SESSION_OPEN)
        self.c_open(response)
        if self.head is not None:
            self.c_parse_early()

    cdef int c_open(self, bytes response) except -1:
        """The answer leaves together with what ``on_open`` sends."""
        hub = self.group.hub
        hub.attach(self.sink)
        hub.c_enter()
        try:
            hub.out.c_deliver_raw(self.sink, response, len(response))
            self.c_call(self.group.on_open, None)
        finally:
            hub.c_leave()
        return 0

    def refuse(self, response: bytes) -> None:
        """Sends ``response``, the whole answer to the upgrade request, and ends the connection."""
        if self.state != SESSION_NEW:
            return
        self.c_set_state(SESSION_ENDING)
        self.group.handshakes.pop(self, None)
        self.c_limit_closing()
        self.transport.write(response)
        self.transport.close()

    def drop(self) -> None:
        """Ends the connection without a close frame, also before there is a transport."""
        if self.transport is None:
            self.c_lost()
        else:
            self.c_abort()

    cdef int c_abort(self) except -1:
        """What a peer did not read is thrown away, also by the kernel."""
        cdef int fd
        if not is_ours(self.transport):
            fd = descriptor_of(self.transport)
            if fd >= 0 and (self.transport.get_write_buffer_size() or undelivered(fd)):
                reset_on_close(fd)
        self.transport.abort()
        return 0

    cdef int c_limit_closing(self) except -1:
        cdef bint counted = self.counted
        self.counted = False
        return self.group.c_limit_closing(self, counted)

    # ---- input

    def pause_input(self) -> None:
        """Nothing is read or parsed until ``resume_input``; the peer's kernel is told to wait. Not while it is closing."""
        if self.state == SESSION_OPEN and not self.paused:
            self.paused = True
            self.transport.pause_reading()

    def resume_input(self) -> None:
        """Goes on; what was read already comes first, before this returns."""
        if not self.paused or self.state == SESSION_CLOSED:
            return
        self.paused = False
        if not self.parsing:
            self.c_parse_kept()
        if not self.paused and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # ---- out

    def send_control(self, payload: bytes) -> None:
        """Sends one control message, in order with the data. Does nothing if the session is not open."""
        if self.state == SESSION_OPEN:
            self.group.hub.c_send(self.sink, self.opcode, payload, len(payload))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Sends the close frame, waits ``close_timeout_s`` for the peer's, then drops the connection. Does nothing the second time."""
        if self.state != SESSION_OPEN:
            return
        self.code = code
        self.group.hub.out.c_write_one(self.sink)         # messages sent before the close frame go before it
        self.c_send_close(code, reason)
        self.c_limit_closing()
        self.resume_input()                               # the peer's close frame may be there

    cdef int c_send_close(self, int code, str reason) except -1:
        """Sends the close frame, after which nothing is sent."""
        self.c_set_state(SESSION_CLOSING)
        self.sink.close()
        self.transport.write(close_frame(code, clipped(reason)))
        return 0

    cdef int c_end_connection(self) except -1:
        """Ends the connection so that our close frame still arrives. What the peer goes on sending is read and dropped."""
        self.c_set_state(SESSION_ENDING)
        self.c_limit_closing()
        if self.transport.is_closing():
            return 0
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        return 0

    cdef int c_call(self, object callback, object argument) except -1:
        """Calls a callback of the group. What it sends leaves in one write; an exception closes the session."""
        hub = self.group.hub
        hub.c_enter()
        try:
            if argument is None:
                callback(self)
            else:
                callback(self, argument)
        except SessionClosed as error:
            self.close(error.code, str(error))
        except Exception:
            logger.exception("a session is closed because of an internal error")
            self.close(INTERNAL_ERROR, "internal error")
        finally:
            hub.c_leave()
        return 0

    # ---- in, from a connection

    cdef int c_received(self, char* data, Py_ssize_t size) except -1:
        if self.state == SESSION_NEW:
            return self.c_collect_request(data, size)
        return self.c_input(data, size)

    cdef int c_eof(self) except -1:
        """The peer sends no more. Only a close frame that is still pending is worth sending."""
        if self.state == SESSION_ENDING:
            self.transport.close()
        else:
            self.c_abort()
        return 0

    cdef int c_drained(self) except -1:
        if self.state == SESSION_OPEN and not self.group.hub.drained(self.sink):
            self.c_ask_again()
        return 0

    cdef int c_ask_again(self) except -1:
        """It is brought up to date a slice at a time; others have their turn in between."""
        if isinstance(self.transport, Connection):
            return (<Connection>self.transport).c_ask_again()
        if isinstance(self.transport, SecureConnection):
            return (<SecureConnection>self.transport).c_ask_again()
        self.group.call_soon(self.resume_writing)
        return 0

    cdef int c_lost(self) except -1:
        cdef bint opened = self.sink is not None
        if self.state == SESSION_CLOSED:
            return 0
        self.c_set_state(SESSION_CLOSED)
        self.group.c_remove(self, self.counted)
        self.head = None
        self.kept = None
        assembler_free(&self.assembler)
        frame_parser_free(&self.parser)
        if opened:
            self.sink.close()
        try:
            if opened:
                self.group.on_close(self, self.code or ABNORMAL)
            elif self.group.on_gone is not None:
                self.group.on_gone(self)
        except Exception:
            logger.exception("handling the end of a session failed")
        finally:
            self.transport = None
            if opened:
                self.sink.transport = None
                self.sink.session = None
        return 0

    # ---- in, as the protocol of an asyncio transport

    def connection_made(self, transport) -> None:
        if self.state == SESSION_CLOSED:          # its deadline passed before
            transport.abort()
            return
        self.transport = transport
        if not is_ours(transport):
            secure = transport.get_extra_info("ssl_object") is not None
            transport.set_write_buffer_limits(1 if secure else 0, 0)

    def get_buffer(self, size_hint: int) -> memoryview:
        return memoryview(self.group.read_space)

    def buffer_updated(self, size: int) -> None:
        cdef char* at = self.group.read_space
        self.c_received(at, size)

    def data_received(self, data: bytes) -> None:
        """For transports that do not support buffered protocols."""
        cdef bytearray copied = bytearray(data)
        self.c_received(copied, len(copied))

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self.state == SESSION_OPEN:
            self.group.hub.slow.c_block(self.sink)

    def resume_writing(self) -> None:
        self.c_drained()

    def connection_lost(self, error) -> None:
        self.c_lost()

    # ---- messages

    cdef int c_collect_request(self, char* data, Py_ssize_t size) except -1:
        """Collects the upgrade request, and passes it on once it is whole. Frames follow it."""
        cdef char* end
        cdef Py_ssize_t head_size
        cdef Py_ssize_t searched = 0
        cdef bytearray kept = self.head
        if self.asked:
            return self.c_keep_early(data, size)
        if kept is not None:
            searched = max(len(kept) - 3, 0)
            kept += data[:size]
            data = kept
            size = len(kept)
        check(searched <= size)
        end = <char*>memmem(data + searched, size - searched, b"\r\n\r\n", 4) if size > searched else NULL
        head_size = end - data if end != NULL else size
        if head_size >= MAX_HEAD:
            self.transport.abort()
            return 0
        if end == NULL:
            if kept is None:
                self.head = bytearray(data[:size])
            return 0
        self.head = None
        self.asked = True
        self.group.on_request(self, data[:head_size])
        if size > head_size + 4:
            if self.state == SESSION_OPEN:
                self.c_input(end + 4, data + size - (end + 4))
            else:
                self.c_keep_early(end + 4, size - head_size - 4)
        return 0

    cdef int c_keep_early(self, const char* data, Py_ssize_t size) except -1:
        """A client should wait for the answer to its upgrade request. What it sends before, within bounds, counts as sent after it."""
        if self.state != SESSION_NEW:
            return 0
        if self.head is None:
            self.head = bytearray()
        if len(self.head) + size > MAX_HEAD:
            self.transport.abort()
        else:
            self.head += data[:size]
        return 0

    cdef int c_parse_early(self) except -1:
        cdef bytearray kept = self.head
        cdef char* at = kept
        self.head = None
        if self.state == SESSION_OPEN:
            self.c_input(at, len(kept))
        return 0

    cdef Py_ssize_t c_max_frame(self) noexcept:
        return self.group.max_compressed if self.parser.compression else self.group.max_message

    cdef int c_input(self, char* data, Py_ssize_t size) except -1:
        """Parses what came; while input is paused, keeps it."""
        cdef Py_ssize_t taken = 0
        if self.kept is not None:
            self.kept += data[:size]
            return 0
        if not self.paused:
            taken = self.c_parse(data, size)
        if taken < size and self.state == SESSION_OPEN:
            self.kept = bytearray(data[taken:size])
            self.kept_at = 0
        return 0

    cdef int c_parse_kept(self) except -1:
        cdef bytearray kept = self.kept
        cdef char* data
        if kept is None:
            return 0
        data = kept
        self.kept_at += self.c_parse(data + self.kept_at, len(kept) - self.kept_at)
        if self.kept_at == len(kept) or self.state != SESSION_OPEN:
            self.kept = None
        return 0

    cdef Py_ssize_t c_parse(self, char* data, Py_ssize_t size) except -1:
        cdef Piece piece
        cdef char* at = data
        cdef char* end = data + size
        cdef int result = 1
        if self.state < SESSION_ENDING:
            self.sink.heard_us = self.group.hub.out.now_us
        self.parsing = True
        try:
            while result > 0 and self.state < SESSION_ENDING and not self.paused:
                result = frame_parser_next(&self.parser, &at, end, self.c_max_frame(), &piece)
                if result > 0:
                    self.c_on_frame(&piece)
            if result < 0:
                self.c_fail(-result)
            if self.unanswered is not None:
                self.c_answer_newest()
        finally:
            self.parsing = False
        return at - data

    cdef int c_on_frame(self, const Piece* piece) except -1:
        if piece.opcode == OP_CLOSE:
            if self.state < SESSION_ENDING:
                self.c_on_close_frame(piece.data, piece.size)
        elif self.state != SESSION_OPEN:
            return 0
        elif piece.opcode == OP_PING:
            self.c_on_ping(piece.data, piece.size)
        elif piece.opcode == OP_PONG:
            self.c_count_control()
        else:
            if piece.size < TINY_FRAGMENT and not piece.fin and not self.parser.in_payload:
                self.c_count_control()
            if piece.fin and self.unanswered is not None:
                self.c_answer_newest()      # before what is said to what came later
            if self.state == SESSION_OPEN:
                self.c_on_data(piece)
        return 0

    # ---- what it may cost

    cdef int c_count_control(self) except -1:
        """1 if it is within the budget. Beyond it, the session goes into debt, and is closed when that is as great as it may be."""
        cdef double now = now_s()
        if bucket_take(&self.control_frames, &self.group.control_frames, 1, now):
            return 1
        if self.control_frames.left >= 0:
            self.c_tell_limited("control_frames")
        self.control_frames.left -= 1
        if self.control_frames.left <= -self.group.control_frames.most and self.state == SESSION_OPEN:
            self.close(RATE_LIMIT, "too many control frames")
        return 0

    cdef int c_on_ping(self, const char* payload, Py_ssize_t size) except -1:
        """Too many pings are answered together: a pong to the newest is one to all (RFC 6455 section 5.5.3)."""
        if self.c_count_control():
            self.group.hub.c_send(self.sink, OP_PONG, payload, size)
        elif self.state == SESSION_OPEN:
            self.unanswered = PyBytes_FromStringAndSize(payload, size)
        return 0

    cdef int c_answer_newest(self) except -1:
        cdef bytes payload = self.unanswered
        self.unanswered = None
        if self.state == SESSION_OPEN:
            self.group.hub.c_send(self.sink, OP_PONG, payload, len(payload))
        return 0

    cdef bint c_afford(self, Py_ssize_t size) except -1:
        if bucket_take(&self.input_bytes, &self.group.input_bytes, size, now_s()):
            return True
        self.c_tell_limited("decoded_bytes")
        return False

    cdef int c_tell_limited(self, str kind) except -1:
        if self.group.on_limited is not None:
            self.c_call(self.group.on_limited, kind)
        return 0

    cdef int c_on_data(self, const Piece* piece) except -1:
        cdef Piece whole
        cdef Py_ssize_t most = self.group.max_message
        cdef int fed
        if not self.group.any_type and piece.opcode != OP_CONTINUATION and piece.opcode != self.opcode:
            self.close(WRONG_FRAME_TYPE, f"this subprotocol takes {'text' if self.opcode == OP_TEXT else 'binary'} frames")
            return 0
        if piece.compressed or self.assembler.compressed and piece.opcode == OP_CONTINUATION:
            most = self.c_max_frame()
        fed = assembler_feed(&self.assembler, piece, most, &whole)
        if fed < 0:
            self.c_fail(-fed)
        elif fed == FED_WHOLE:
            self.opcode = whole.opcode
            if not self.c_afford(whole.size):
                return 0
            if whole.compressed:
                return self.c_on_compressed(whole.data, whole.size)
            self.c_call(self.group.on_message, PyBytes_FromStringAndSize(whole.data, whole.size))
        return 0

    cdef int c_on_compressed(self, const char* data, Py_ssize_t size) except -1:
        cdef int violation = 0
        cdef Py_ssize_t more
        cdef bytes message = decompress(data, size, self.group.max_message, &violation)
        if message is None:
            return self.c_fail(violation, CORRUPT if violation == NOT_UTF8 else None)
        more = len(message) - size
        if more > 0 and not self.c_afford(more):
            self.input_bytes.left -= more       # a debt: it was decompressed, and the next one shall not be before that is paid
            return 0
        if self.opcode == OP_TEXT and not is_utf8(message, len(message)):
            return self.c_fail(NOT_UTF8)
        return self.c_call(self.group.on_message, message)

    cdef int c_on_close_frame(self, const char* payload, Py_ssize_t size) except -1:
        cdef int code = close_code(payload, size)
        if self.state == SESSION_OPEN:
            self.code = code if code > 0 else -code
            self.group.hub.out.c_write_one(self.sink)
            self.c_send_close(NORMAL if code == NO_CODE else self.code, "")
        return self.c_end_connection()

    cdef int c_fail(self, int code, str why=None) except -1:
        """A violation (RFC 6455 section 7.1.7): closes with its code, and reads no further."""
        if self.state == SESSION_OPEN:
            why = why or VIOLATIONS[code]
            logger.info("a session is closed with %d: %s", code, why)
            self.close(code, why)
        if self.state == SESSION_CLOSING:
            self.c_end_connection()
        return 0
