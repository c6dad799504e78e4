"""TLS on a connection. In the place of a `Connection` for a session, and its handler."""

from mdstream._core.net.connection cimport Connection, ConnectionHandler

cdef class SecureConnection(ConnectionHandler):
    cdef Connection connection
    cdef ConnectionHandler handler
    cdef object context
    cdef object tls             # ssl.SSLObject; None until something has come, and after the end
    cdef object incoming        # ssl.MemoryBIO: what came and is not decrypted
    cdef object outgoing        # ssl.MemoryBIO: what is encrypted and not written
    cdef Py_ssize_t early       # bytes that came before the handshake was done
    cdef bint ready             # it is done

    cdef int c_begin(self) except -1
    # False while more must come first, or where it has failed.
    cdef bint c_shake(self) except -1
    cdef int c_decrypt(self) except -1
    cdef int c_flush(self) except -1
    # Says that nothing follows.
    cdef int c_notify(self) except -1
    # Calls the handler's c_drained once more, after what else is ready had its turn.
    cdef int c_ask_again(self) except -1
