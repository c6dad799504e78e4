"""TLS by the library of Python's own module, between a `Connection` and its handler: no transport, task or timer of the event loop."""

import logging
import ssl

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory

from mdstream._core.net.connection cimport CONNECTION_HALF_CLOSED, CONNECTION_OPEN, Connections

cdef enum:
    SPACE = 65536               # bytes decrypted at a time
    EARLY_MOST = 16384          # bytes of a handshake; browsers send less than 3,000
    EARLY_MOST_CERTIFIED = 131072       # where clients show certificates

cdef object logger = logging.getLogger("mdstream.connection")

# What was decrypted last. It is used up before the next one's turn.
cdef bytearray space = bytearray(SPACE)


cdef class SecureConnection(ConnectionHandler):
    """A connection with TLS. To its handler it is like a ``Connection``: ``c_received`` gets what was decrypted.

    It owns ``fd``, unless the constructor raises OSError. The handshake begins with the first bytes that come: a silent client costs
    no more than without TLS. The end of what the peer says (``close_notify``) is to the handler as the end of the connection's input.
    """

    def __init__(self, connections: Connections, fd: int, handler: ConnectionHandler, context: ssl.SSLContext) -> None:
        self.handler = handler
        self.context = context
        self.connection = Connection(connections, fd, self)

    # ---- in

    cdef int c_received(self, char* data, Py_ssize_t size) except -1:
        if self.connection.state == CONNECTION_HALF_CLOSED:     # what still comes is dropped
            return 0
        if self.tls is None:
            self.c_begin()
        self.incoming.write(PyMemoryView_FromMemory(data, size, PyBUF_READ))
        if not self.ready:
            self.early += size
            if not self.c_shake():
                return 0
        return self.c_decrypt()

    cdef int c_begin(self) except -1:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        return 0

    cdef bint c_shake(self) except -1:
        cdef Py_ssize_t most = EARLY_MOST if self.context.verify_mode == ssl.CERT_NONE else EARLY_MOST_CERTIFIED
        try:
            self.tls.do_handshake()
            self.ready = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            logger.debug("a connection ended in its TLS handshake: %s", error)
            self.c_flush()                                      # an alert says why
            self.connection.close()
            return False
        self.c_flush()
        if not self.ready and self.early > most:
            self.connection.abort()
        return self.ready

    cdef int c_decrypt(self) except -1:
        cdef char* at = space
        cdef Py_ssize_t size
        try:
            while self.connection.state == CONNECTION_OPEN:
                size = self.tls.read(SPACE, space)
                if not size:
                    return self.handler.c_eof()
                self.handler.c_received(at, size)
                if not self.incoming.pending and not self.tls.pending():
                    break
        except ssl.SSLWantReadError:                            # a record is not whole yet
            pass
        except ssl.SSLError as error:
            logger.debug("a connection ended because of its TLS: %s", error)
            self.c_flush()
            self.connection.abort()
        return self.c_flush()

    cdef int c_eof(self) except -1:
        return self.handler.c_eof()

    cdef int c_drained(self) except -1:
        return self.handler.c_drained()

    cdef int c_lost(self) except -1:
        cdef ConnectionHandler handler = self.handler
        self.handler = self.tls = self.incoming = self.outgoing = None
        return handler.c_lost()

    cdef int c_ask_again(self) except -1:
        return self.connection.c_ask_again()

    # ---- out: the methods of an asyncio transport

    def write(self, data: bytes) -> None:
        if self.connection.state != CONNECTION_OPEN or not self.ready or not data:
            return
        try:
            self.tls.write(data)
        except ssl.SSLError as error:
            logger.debug("a connection ended because of its TLS: %s", error)
            self.connection.abort()
            return
        self.c_flush()

    cdef int c_flush(self) except -1:
        if self.outgoing is not None and self.outgoing.pending:
            self.connection.write(self.outgoing.read())
        return 0

    cdef int c_notify(self) except -1:
        if self.connection.state == CONNECTION_OPEN and self.ready:
            try:
                self.tls.unwrap()
            except ssl.SSLError:        # the peer's end is still to come, or never will
                pass
            self.c_flush()
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.c_notify()
        self.connection.write_eof()

    def close(self) -> None:
        self.c_notify()
        self.connection.close()

    def abort(self) -> None:
        self.connection.abort()

    def is_closing(self) -> bool:
        return self.connection.is_closing()

    def get_write_buffer_size(self) -> int:
        return self.connection.get_write_buffer_size()

    def is_reading(self) -> bool:
        return self.connection.is_reading()

    def pause_reading(self) -> None:
        self.connection.pause_reading()

    def resume_reading(self) -> None:
        self.connection.resume_reading()

    # ---- who is there

    @property
    def fd(self) -> int:
        return self.connection.fd

    def peer_certificate(self) -> dict | None:
        """What the client has shown, verified, as in ``ssl.SSLSocket.getpeercert``; None if it has shown none."""
        return self.tls.getpeercert() if self.ready and self.tls is not None else None
