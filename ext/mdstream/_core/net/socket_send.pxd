"""One write to a socket that does not block; what the kernel holds of a socket, and how to have it thrown away."""

from libc.errno cimport EAGAIN, EINTR, errno

cdef extern from *:
    """
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #if defined(__linux__)
    #include <linux/sockios.h>
    static inline int mds_undelivered(int fd) { int n = 0; return ioctl(fd, SIOCOUTQ, &n) < 0 ? 0 : n; }
    #else
    static inline int mds_undelivered(int fd) { (void)fd; return 0; }
    #endif
    static inline void mds_reset_on_close(int fd)
    {
        struct linger now = { 1, 0 };
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    """
    int MSG_DONTWAIT, MSG_NOSIGNAL
    Py_ssize_t send(int fd, const void* data, size_t size, int flags) noexcept nogil
    # Bytes that the kernel took and the peer's has not: a peer that does not read leaves them there, also after a close.
    int undelivered "mds_undelivered"(int fd) noexcept nogil
    # Closing it throws those bytes away, and tells the peer so (RST).
    void reset_on_close "mds_reset_on_close"(int fd) noexcept nogil


cdef inline Py_ssize_t send_now(int fd, const char* data, Py_ssize_t size) noexcept nogil:
    """Returns the bytes that the socket took, maybe none; negative: it is broken."""
    cdef Py_ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    while sent < 0 and errno == EINTR:
        sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:
        return 0 if errno == EAGAIN else -1
    return sent
