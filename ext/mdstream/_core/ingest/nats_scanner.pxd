"""Scans what a NATS server sends: messages of known subscriptions go straight to their handler, all else comes back."""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.ingest.receiver cimport Handlers

cdef enum Stop:             # why no further message was handed over
    STOP_ERROR = -1
    STOP_DRY                # there is none that is whole
    STOP_MESSAGE            # the next has no handler
    STOP_LINE               # the next operation is no message

cdef struct Message:        # where it stands in the buffer
    const char* subject
    const char* reply
    const char* body        # the header block, then the payload
    Py_ssize_t subject_size
    Py_ssize_t reply_size
    Py_ssize_t header_size
    Py_ssize_t payload_size
    Py_ssize_t whole        # bytes of the operation
    int64_t sid

cdef class NatsScanner:
    cdef char* data
    cdef Py_ssize_t size            # bytes in data
    cdef Py_ssize_t position        # of the first byte not yet consumed
    cdef Py_ssize_t allocated
    cdef Py_ssize_t needed          # bytes from position on of the message in hand, which is not whole yet; else 0
    cdef Py_ssize_t keeps           # of a buffer that grew beyond, the memory is given back
    cdef bint running               # messages are being handed over
    cdef Handlers handlers          # its owner changes it at will
    cdef readonly uint64_t messages     # handed to handlers since the start
    cdef readonly uint64_t payload_bytes      # their payloads

    # Hands messages over up to the first operation that has no handler. STOP_MESSAGE: it is in `other`. STOP_LINE: other.whole
    # bytes, CR LF included. Either is still to be consumed. A handler's exception comes out, its message is behind us then.
    cdef Stop c_run(self, Message* other) except STOP_ERROR
    cdef int c_hand_over(self, const Message* messages, Py_ssize_t n) except -1
    # Room for `more` bytes behind what is there.
    cdef int c_reserve(self, Py_ssize_t more) except -1
    cdef int c_give_back(self) noexcept
