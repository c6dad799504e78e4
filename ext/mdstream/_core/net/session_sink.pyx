"""Writing to one client: what a flush linked, to its socket; what the socket does not take, to its transport."""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from mdstream._core.net.connection cimport Connection
from mdstream._core.net.secure_connection cimport SecureConnection
from mdstream._core.net.socket_send cimport MSG_DONTWAIT, MSG_NOSIGNAL, send_now

from mdstream.codes import CloseCode

cdef extern from *:
    """
    #include <sys/socket.h>
    #include <sys/uio.h>
    """
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    Py_ssize_t sendmsg(int fd, const msghdr* message, int flags) nogil

cdef enum:
    GATHER = 256                # pieces of one sendmsg; the system's limit (IOV_MAX) is 1024

cdef int TOO_SLOW = CloseCode.TOO_SLOW
cdef object logger = logging.getLogger("mdstream.session")


cdef Py_ssize_t gather(int fd, const Delivery* first) noexcept nogil:
    """Writes deliveries to a socket. Returns the bytes that it took (fewer than all: it is full), or -1 if it is broken."""
    cdef iovec[GATHER] pieces
    cdef msghdr message
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t wanted, sent
    if first.next == NULL:
        return send_now(fd, first.data, first.size)
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
    """Deliveries of `size` bytes in all, without the first `skip`."""
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


cdef int queue_unsent(Connection connection, const Delivery* first, Py_ssize_t skip) except -1:
    """Has a connection keep deliveries without the first `skip` bytes: its socket did not take them."""
    while first != NULL:
        if skip >= first.size:
            skip -= first.size
        else:
            connection.c_queue(first.data + skip, first.size - skip)
            skip = 0
        first = first.next
    return 0


cdef int socket_of(object transport) except -2:
    """The descriptor that may be written to directly, or -1 if there is none, as with TLS."""
    if isinstance(transport, Connection):
        return (<Connection>transport).fd
    if isinstance(transport, SecureConnection):
        return -1
    if transport.get_extra_info("ssl_object") is not None:
        return -1
    return transport.get_extra_info("socket").fileno()


cdef class SessionSink(Sink):
    """Writes to a WebSocket: one gathered ``sendmsg`` per flush to the socket while its transport holds nothing, else, within bounds,
    into the transport.

    The transport's high-water mark is 0: it calls ``pause_writing`` (blocked) as soon as it holds anything, and ``resume_writing``
    (drained) when it holds nothing again.
    """

    cdef int c_open(self, object session, object transport, int format, int window_bits, Py_ssize_t control_backlog) except -1:
        self.c_begin(format, window_bits)
        self.session = session
        self.transport = transport
        self.control_backlog = control_backlog
        self.fd = socket_of(self.transport)
        self.pings = True
        return 0

    def trace(self, tracer: object) -> None:
        """From here on ``tracer`` is called with the bytes of each write, whole WebSocket frames, before they leave; None: no more.

        Its socket is hidden meanwhile, so that all writes come here one by one; who is not traced has nothing to look at.
        """
        self.tracer = tracer
        if not self.closed:
            self.fd = -1 if tracer is not None else socket_of(self.transport)

    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept:
        cdef Py_ssize_t sent = 0
        if self.transport is None:
            return False
        if not self.blocked and self.fd >= 0:
            sent = gather(self.fd, first)
            if sent == size:
                return False
        elif self.tracer is not None:
            return self.c_write_traced(first, size)
        return self.c_unsent(first, size, sent)

    cdef bint c_write_traced(self, const Delivery* first, Py_ssize_t size) noexcept:
        """Shows it to the tracer, then writes it as if there were none."""
        cdef Py_ssize_t sent = 0
        cdef int fd = -1
        try:
            fd = socket_of(self.transport)
            self.tracer(joined(first, 0, size))
        except Exception:
            logger.exception("a trace of a session failed")
        if not self.blocked and fd >= 0:
            sent = gather(fd, first)
            if sent == size:
                return False
        return self.c_unsent(first, size, sent)

    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept:
        try:
            if sent < 0:
                self.c_on_broken()
                return False
            return self.c_write_transport(first, sent, size)
        except Exception:
            logger.exception("writing to a session failed; it is dropped")
            self.transport.abort()
            return False

    cdef bint c_write_transport(self, const Delivery* first, Py_ssize_t skip, Py_ssize_t size) except? False:
        """What the socket did not take. True if the transport has to keep any of it."""
        cdef Py_ssize_t held
        transport = self.transport
        if transport.is_closing():
            return False
        held = transport.get_write_buffer_size()
        # What is added to what waits already is control: first in, first out, so it is the last that waits.
        self.backlog = min(self.backlog, held) + size - skip if held else 0
        if self.backlog > self.control_backlog:
            self.session.close(TOO_SLOW, "too slow: control messages were not read")
            return False
        if isinstance(transport, Connection):
            queue_unsent(<Connection>transport, first, skip)
        else:
            transport.write(joined(first, skip, size))
        return transport.get_write_buffer_size() > 0

    cdef Py_ssize_t c_look_at_held(self, uint64_t now_us) except -1:
        cdef Py_ssize_t held = 0 if self.transport is None else self.transport.get_write_buffer_size()
        if held != self.held:
            self.held = held
            self.held_since_us = now_us
        return held

    cdef int c_on_broken(self) except -1:
        """The peer is gone. The event loop will report it; nothing is written until then."""
        self.close()
        self.transport.abort()
        return 0

    cdef int c_end(self, int code, str reason) except -1:
        if self.session is not None:
            self.session.close(code, reason)
        return 0
