"""Scans what a NATS server sends: messages of known subscriptions go straight to their handler, all else comes back."""

from libc.stdint cimport uint64_t

cdef class Receiver:
    """Takes the messages of one subscription without a Python object for each; as a handler it may be called as any other."""

    # The pointers are valid during the call only.
    cdef int c_receive(self, const char* subject, Py_ssize_t subject_size,
                       const char* payload, Py_ssize_t payload_size) except -1

cdef class NatsScanner:
    cdef char* data
    cdef Py_ssize_t size            # bytes in data
    cdef Py_ssize_t position        # of the first byte not yet consumed
    cdef Py_ssize_t allocated
    cdef Py_ssize_t needed          # bytes from position on of the message in hand, which is not whole yet; else 0
    cdef dict handlers              # by subscription id; its owner changes it at will
    cdef readonly uint64_t messages     # handed to handlers since the start
    cdef readonly uint64_t payload_bytes      # their payloads

    cdef object _message(self, const char* line, Py_ssize_t line_size, bint with_headers)
    cdef int _reserve(self, Py_ssize_t more) except -1
    cdef int _give_back(self) noexcept
