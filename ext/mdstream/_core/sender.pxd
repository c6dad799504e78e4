"""Writing to many sockets at once: the interface; ``sender_uring`` is the implementation."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t

cdef extern from "uring.h":
    int MSG_DONTWAIT, MSG_NOSIGNAL
    Py_ssize_t send(int fd, const void* data, size_t size, int flags) noexcept nogil
    struct Job "mds_job":       # one write: `size` bytes at `data` to socket `fd`
        int fd
        const char* data
        Py_ssize_t size
        Py_ssize_t sent         # filled in: bytes that the socket took, maybe none; negative: it is broken

cdef enum:
    BATCH = 32                  # jobs at a time, at most

cdef class Sender:
    cdef readonly uint64_t calls         # to c_send
    cdef readonly uint64_t jobs          # in those

    # Tries each of the jobs once, waiting for none; the sockets are all different.
    cdef void c_send(self, Job* jobs, Py_ssize_t count) noexcept


cdef inline Py_ssize_t send_now(int fd, const char* data, Py_ssize_t size) noexcept nogil:
    """The bytes that the socket took, maybe none; negative: it is broken."""
    cdef Py_ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    while sent < 0 and errno == EINTR:
        sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:
        return 0 if errno == EAGAIN else -1
    return sent
