"""The I/O shell around sink and assembly: picows' callbacks in, one gathered `sendmsg` per flush out."""

import asyncio
import logging
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memcpy, memset

from picows.picows cimport WSCloseCode

from mdstream._core.assembly cimport FED_WHOLE, assembly_feed, assembly_free, close_code, is_utf8
from mdstream._core.deflate cimport unpack
from mdstream._core.wsframe cimport OP_BINARY, OP_CLOSE, OP_CONTINUATION, OP_PING, OP_PONG, OP_TEXT
from mdstream._core.wsparser cimport Piece, parser_next

from mdstream.errors import SessionClosed

cdef extern from *:
    """
    #include <sys/socket.h>
    #include <sys/uio.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    """
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    int MSG_DONTWAIT, MSG_NOSIGNAL
    Py_ssize_t sendmsg(int fd, const msghdr* message, int flags) nogil

cdef enum:
    GATHER = 256                # pieces of one sendmsg; the system's limit (IOV_MAX) is 1024
    READ_SPACE = 65536          # bytes read at a time
    PICOWS_LEAST_BUFFER = 2048  # of its read buffer, whatever it is asked for; and what it keeps free at the end
    PICOWS_SPARE = 256
    SPARE = 64                  # and a thousandth: what DEFLATE adds at most to what it cannot compress
    MAX_REASON = 123            # bytes: a control frame's 125 without the code
    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    WRONG_FRAME_TYPE = 1003
    NO_CODE = 1005
    ABNORMAL = 1006
    NOT_UTF8 = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TOO_SLOW = 4408

cdef dict VIOLATIONS = {
    PROTOCOL_ERROR: "a frame that the WebSocket protocol does not allow here",
    NOT_UTF8: "text that is not UTF-8",
    TOO_BIG: "the message is too big",
}
cdef str CORRUPT = "a compressed message that is corrupt"
cdef object logger = logging.getLogger("mdstream.session")


cdef Py_ssize_t gather(int fd, const Delivery* first) noexcept nogil:
    """Writes deliveries straight to a socket. The bytes written (fewer than all: it is full), or -1 if it is broken."""
    cdef iovec[GATHER] pieces
    cdef msghdr message
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t wanted, sent
    while first != NULL:
        memset(&message, 0, sizeof(message))
        message.msg_iov = pieces
        wanted = 0
        while first != NULL and message.msg_iovlen < GATHER:
            pieces[message.msg_iovlen].iov_base = <void*>first.data
            pieces[message.msg_iovlen].iov_len = first.size
            message.msg_iovlen += 1
            wanted += first.size
            first = first.next
        sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        while sent < 0 and errno == EINTR:
            sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            return total if errno == EAGAIN else -1
        total += sent
        if sent < wanted:
            break
    return total


cdef bytes joined(const Delivery* first, Py_ssize_t skip, Py_ssize_t size):
    """Deliveries of `size` bytes in all, less the first `skip`."""
    cdef bytes data = PyBytes_FromStringAndSize(NULL, size - skip)
    cdef char* at = PyBytes_AS_STRING(data)
    while first != NULL:
        if skip >= first.size:
            skip -= first.size
        else:
            memcpy(at, first.data + skip, first.size - skip)
            at += first.size - skip
            skip = 0
        first = first.next
    return data


cdef bytes clipped(str reason):
    """At most MAX_REASON bytes of UTF-8, whole characters."""
    return reason.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore").encode()


cdef class SessionSink(Sink):
    """The way to one client: straight to the socket while its transport holds nothing, else into the transport, bounded.

    The transport's high-water mark is 0, so that it says at once when it holds anything (`pause_writing`: blocked) and when it no
    longer does (`resume_writing`: drained).
    """

    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept:
        cdef WSTransport transport = self.transport
        cdef Py_ssize_t sent = 0
        if transport is None or transport.is_close_frame_sent or transport.is_disconnected:
            return False
        if not self.blocked and not transport.is_secure:
            sent = gather(transport._socket, first)
            if sent == size:
                return False
        try:
            if sent < 0:
                self.c_broken()
                return False
            return self.c_leave_to_transport(first, sent, size)
        except Exception:
            logger.exception("writing to a session failed; it is dropped")
            transport.underlying_transport.abort()
            return False

    cdef bint c_leave_to_transport(self, const Delivery* first, Py_ssize_t skip, Py_ssize_t size) except? False:
        """What the socket did not take (now). True if the transport had to keep any of it."""
        transport = self.transport.underlying_transport
        if transport.is_closing():
            return False
        if self.blocked and transport.get_write_buffer_size() + size > self.control_backlog:
            self.session.close(TOO_SLOW, "too slow: control messages were not read")
            return False
        transport.write(joined(first, skip, size))
        return transport.get_write_buffer_size() > 0

    cdef int c_broken(self) except -1:
        """The peer is gone: the loop tells soon; until then nothing is tried any more."""
        self.close()
        self.transport.underlying_transport.abort()
        return 0

    cdef int c_end(self, int code, str reason) except -1:
        if self.session is not None:
            self.session.close(code, reason)
        return 0


cdef class Session(WSListener):
    def __init__(
        self,
        hub: Hub,
        format: int,
        *,
        on_open,
        on_message,
        on_close,
        max_message_bytes: int = 65536,
        send_buffer_bytes: int = 0,
        notsent_lowat_bytes: int = 0,
        control_backlog_bytes: int = 262144,
        close_timeout_s: float = 2.0,
        any_type: bool = False,
        read_buffer_bytes: int = 1024,
        window_bits: int = 0,
    ) -> None:
        self.hub = hub
        self.sink = SessionSink(format, window_bits)
        self.parser.unpacks = window_bits > 0
        self.sink.session = self
        self.sink.pings = True
        self.sink.control_backlog = control_backlog_bytes
        self.on_open = on_open
        self.on_message = on_message
        self.on_close = on_close
        self.max_message = max_message_bytes
        self.max_frame = max_message_bytes + (max_message_bytes // 1024 + SPARE if window_bits else 0)
        self.send_buffer = send_buffer_bytes
        self.notsent_lowat = notsent_lowat_bytes
        self.close_timeout_s = close_timeout_s
        self.opcode = OP_BINARY if format else OP_TEXT
        self.any_type = any_type
        self.read_buffer = read_buffer_bytes

    def __dealloc__(self) -> None:
        assembly_free(&self.assembly)

    @property
    def format(self) -> int:
        return self.sink.format

    @property
    def open(self) -> bool:
        return self.state == STATE_OPEN and not self.transport.is_close_frame_sent

    @property
    def bytes_pending(self) -> int:
        if self.transport is None:
            return 0
        return self.sink.pending + self.transport.underlying_transport.get_write_buffer_size()

    @property
    def last_received_us(self) -> int:
        return self.sink.heard_us

    # ---- out

    def send_control(self, payload: bytes) -> None:
        if self.state == STATE_OPEN:
            self.hub.c_send(self.sink, self.opcode, payload, len(payload))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        if self.state != STATE_OPEN:
            return
        self.code = code
        self.hub.out.c_write_one(self.sink)         # what was said before the close frame goes before it
        self.c_shut(code, reason)
        self.timer = asyncio.get_running_loop().call_later(
            self.close_timeout_s, self.transport.underlying_transport.abort)

    cdef int c_shut(self, int code, str reason) except -1:
        """Sends the close frame, after which nothing is sent."""
        self.state = STATE_CLOSING
        self.sink.close()
        self.transport.send_close(<WSCloseCode>code, clipped(reason))
        return 0

    cdef int c_hang_up(self) except -1:
        """Ends the connection so that our close frame still arrives, though the peer may go on sending: that is read and dropped."""
        transport = self.transport.underlying_transport
        self.state = STATE_ENDING
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(self.close_timeout_s, transport.abort)
        if transport.is_closing():
            return 0
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        return 0

    # ---- in, from picows

    cpdef on_ws_connected(self, WSTransport transport):
        self.transport = transport
        self.sink.transport = transport
        self.state = STATE_OPEN
        self.hub.attach(self.sink)
        self.c_set_socket_options()
        self.c_take_over()
        transport.underlying_transport.set_write_buffer_limits(1 if transport.is_secure else 0, 0)
        self.c_call(self.on_open, None)
        transport.request = transport.response = None      # kilobytes

    cdef int c_set_socket_options(self) except -1:
        sock = self.transport.underlying_transport.get_extra_info("socket")
        if self.send_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)
        if self.notsent_lowat and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, self.notsent_lowat)
        return 0

    cdef int c_call(self, object callback, object argument) except -1:
        """A callback of the owner's; what it sends leaves in one write, and no error of its own goes further."""
        self.hub.c_enter()
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
            self.hub.c_leave()
        return 0

    # ---- in, from picows: frames that came together with the handshake

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        self.sink.heard_us = self.hub.out.now_us
        cdef uint8_t opcode = <uint8_t>frame.msg_type
        cdef bint packed = frame.rsv1 and self.parser.unpacks and (opcode == OP_TEXT or opcode == OP_BINARY)
        if frame.rsv1 and not packed or frame.rsv2 or frame.rsv3:
            self.c_fail(PROTOCOL_ERROR)
        else:
            self.c_on_frame(opcode, frame.fin, packed, frame.payload_ptr, frame.payload_size)

    # ---- in, as the transport's protocol

    cdef int c_take_over(self) except -1:
        """Reads from here on by itself: picows drops a whole frame if the one behind it is at fault, answers two close frames with
        an error, and keeps a buffer for each connection. Not if it holds bytes already that came with the handshake.
        """
        transport = self.transport.underlying_transport
        cdef Py_ssize_t space = len(transport.get_protocol().get_buffer(-1))
        cdef Py_ssize_t empty = max(self.read_buffer, PICOWS_LEAST_BUFFER) - PICOWS_SPARE
        while empty < space:
            empty *= 2
        if space == empty:
            if self.hub.read_space is None:
                self.hub.read_space = bytearray(READ_SPACE)
            self.read_view = memoryview(self.hub.read_space)
            transport.set_protocol(self)
        return 0

    def is_buffered_protocol(self) -> bool:
        return True

    def get_buffer(self, size_hint: int) -> memoryview:
        return self.read_view

    def buffer_updated(self, size: int) -> None:
        cdef char* at = self.hub.read_space
        self.c_parse(at, at + <Py_ssize_t>size)

    def data_received(self, data: bytes) -> None:
        """From transports that know no buffered protocols."""
        cdef bytearray copied = bytearray(data)
        cdef char* at = copied
        self.c_parse(at, at + len(copied))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error) -> None:
        transport = self.transport
        if transport is None:
            return
        (<WSTransport>transport).is_disconnected = True
        if not (<WSTransport>transport).disconnected_future.done():
            (<WSTransport>transport).disconnected_future.set_result(None)
        self.on_ws_disconnected(transport)

    cdef int c_parse(self, char* at, char* end) except -1:
        cdef Piece piece
        cdef int result = 1
        self.sink.heard_us = self.hub.out.now_us
        while result > 0 and self.state < STATE_ENDING:
            result = parser_next(&self.parser, &at, end, self.max_frame, &piece)
            if result > 0:
                self.c_on_frame(piece.opcode, piece.fin, piece.packed, piece.data, piece.size)
        if result < 0:
            self.c_fail(-result)
        return 0

    cdef int c_on_frame(self, uint8_t opcode, bint fin, bint packed, const char* data, Py_ssize_t size) except -1:
        if opcode == OP_CLOSE:
            if self.state < STATE_ENDING:
                self.c_on_close_frame(data, size)
        elif self.state != STATE_OPEN:
            return 0
        elif opcode == OP_PING:
            self.hub.c_send(self.sink, OP_PONG, data, size)
        elif opcode != OP_PONG:
            self.c_on_data(opcode, fin, packed, data, size)
        return 0

    cdef int c_on_data(self, uint8_t opcode, bint fin, bint packed, const char* data, Py_ssize_t size) except -1:
        cdef const char* whole = NULL
        cdef Py_ssize_t whole_size = 0
        cdef Py_ssize_t most = self.max_message
        cdef int fed
        if not self.any_type and opcode != OP_CONTINUATION and opcode != self.opcode:
            self.close(WRONG_FRAME_TYPE, f"this subprotocol takes {'text' if self.opcode == OP_TEXT else 'binary'} frames")
            return 0
        if packed or self.assembly.packed and opcode == OP_CONTINUATION:
            most = self.max_frame
        fed = assembly_feed(&self.assembly, opcode, fin, packed, data, size, most, &whole, &whole_size, &opcode)
        if fed < 0:
            self.c_fail(-fed)
        elif fed == FED_WHOLE:
            self.opcode = opcode
            if self.assembly.packed:
                return self.c_on_packed(whole, whole_size)
            self.c_call(self.on_message, PyBytes_FromStringAndSize(whole, whole_size))
        return 0

    cdef int c_on_packed(self, const char* data, Py_ssize_t size) except -1:
        cdef int violation = 0
        cdef bytes message = unpack(data, size, self.max_message, &violation)
        if message is None:
            return self.c_fail(violation, CORRUPT if violation == NOT_UTF8 else None)
        if self.opcode == OP_TEXT and not is_utf8(message, len(message)):
            return self.c_fail(NOT_UTF8)
        return self.c_call(self.on_message, message)

    cdef int c_on_close_frame(self, const char* payload, Py_ssize_t size) except -1:
        cdef int code = close_code(payload, size)
        if self.state == STATE_OPEN:
            self.code = code if code > 0 else -code
            self.hub.out.c_write_one(self.sink)
            self.c_shut(NORMAL if code == NO_CODE else self.code, "")
        return self.c_hang_up()

    cdef int c_fail(self, int code, str why=None) except -1:
        """A violation (RFC 6455 section 7.1.7): says so, and reads no further."""
        if self.state == STATE_OPEN:
            why = why or VIOLATIONS[code]
            logger.info("a session is closed with %d: %s", code, why)
            self.close(code, why)
        if self.state == STATE_CLOSING:
            self.c_hang_up()
        return 0

    cpdef on_ws_disconnected(self, WSTransport transport):
        if self.state == STATE_CLOSED or self.state == STATE_NEW:
            return
        self.state = STATE_CLOSED
        if self.timer is not None:
            self.timer.cancel()
        if not self.code and transport.is_close_frame_sent and transport.close_handshake.sent is not None:
            self.code = <int>transport.close_handshake.sent.code        # picows found a violation
        self.sink.close()
        assembly_free(&self.assembly)
        on_close = self.on_close
        self.on_open = self.on_message = self.on_close = self.timer = None
        try:
            on_close(self, self.code or ABNORMAL)
        except Exception:
            logger.exception("the end of a session was not taken note of")
        finally:
            self.transport = self.sink.transport = None
            self.sink.session = None

    cpdef pause_writing(self):
        if self.state == STATE_OPEN:
            self.hub.c_blocked(self.sink)

    cpdef resume_writing(self):
        if self.state == STATE_OPEN and self.sink.blocked:
            self.hub.drained(self.sink)
