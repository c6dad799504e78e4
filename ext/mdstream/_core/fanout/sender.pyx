"""The base of senders. Without one, each sink writes for itself."""


cdef class Sender:
    """Writes to many sockets at once: ``calls`` batches so far, of ``jobs`` writes. ``net.sender_uring`` implements it."""

    cdef void c_send(self, Job* jobs, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
        for i in range(count):
            jobs[i].sent = 0
