"""One write to a socket that does not block."""

from libc.errno cimport EAGAIN, EINTR, errno

cdef extern from "<sys/socket.h>":
    int MSG_DONTWAIT, MSG_NOSIGNAL
    Py_ssize_t send(int fd, const void* data, size_t size, int flags) noexcept nogil


cdef inline Py_ssize_t send_now(int fd, const char* data, Py_ssize_t size) noexcept nogil:
    """Returns the bytes that the socket took, maybe none; negative: it is broken."""
    cdef Py_ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    while sent < 0 and errno == EINTR:
        sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:
        return 0 if errno == EAGAIN else -1
    return sent
