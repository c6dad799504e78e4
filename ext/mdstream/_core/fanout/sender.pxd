"""Writing to many sockets at once: the interface. The implementation is ``net.sender_uring``."""

from libc.stdint cimport uint64_t

cdef extern from "fanout/write_job.h":
    struct Job "mds_job":       # one write: `size` bytes at `data` to socket `fd`
        int fd
        const char* data
        Py_ssize_t size
        Py_ssize_t sent         # set by c_send: bytes that the socket took, maybe none; negative: it is broken

cdef enum:
    BATCH = 32                  # jobs at a time, at most

cdef class Sender:
    cdef readonly uint64_t calls         # to c_send
    cdef readonly uint64_t jobs          # in those

    # Tries each job once, without waiting. No two jobs have the same socket.
    cdef void c_send(self, Job* jobs, Py_ssize_t count) noexcept
