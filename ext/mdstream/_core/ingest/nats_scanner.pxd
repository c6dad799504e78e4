"""Scans what a NATS server sends: messages of known subscriptions go straight to their handler."""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.ingest.receiver cimport Handlers

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
    cdef Py_ssize_t needed          # bytes from position on of a message of which a part is missing; else 0
    cdef Handlers handlers          # its owner may change it at any time
    cdef uint64_t messages          # handed to handlers since the tap last counted
    cdef uint64_t payload_bytes     # their payloads

    cdef int c_feed(self, bytes data) except -1
    # Hands messages over up to the first operation that has no handler. Returns the size of this operation, which is not
    # consumed; 0: no whole operation is left. Raises ScanError, and what a handler raises, whose message is consumed then.
    cdef Py_ssize_t c_run(self) except -1
    cdef int c_hand_over(self, const Message* messages, Py_ssize_t n) except -1
    # Makes room for `more` bytes after those that are there.
    cdef int c_reserve(self, Py_ssize_t more) except -1
    cdef int c_give_back(self) noexcept
