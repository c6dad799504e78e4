"""The next connection of a listening socket, and the address at its other end, which the same system call tells."""

from cpython.exc cimport PyErr_SetFromErrno

from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EPROTO, errno

cdef extern from *:
    """
    #include <fcntl.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <netinet/in.h>

    struct mds_peer { Py_ssize_t size; char address[16]; };

    static inline int mds_accept(int listening, struct sockaddr_storage *from)
    {
        socklen_t size = sizeof *from;
    #if defined(__linux__)
        return accept4(listening, (struct sockaddr *)from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    #else
        int fd = accept(listening, (struct sockaddr *)from, &size);
        if (fd >= 0) {
            (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
        return fd;
    #endif
    }

    static inline void mds_keep(struct mds_peer *peer, const void *at, Py_ssize_t size)
    {
        peer->size = size;
        memcpy(peer->address, at, (size_t)size);
    }

    static inline int mds_accept_from(int listening, struct mds_peer *peer)
    {
        struct sockaddr_storage from;
        const unsigned char *six = ((const struct sockaddr_in6 *)&from)->sin6_addr.s6_addr;
        int fd;
        from.ss_family = AF_UNSPEC;
        fd = mds_accept(listening, &from);
        peer->size = 0;
        if (fd >= 0 && from.ss_family == AF_INET)
            mds_keep(peer, &((const struct sockaddr_in *)&from)->sin_addr, 4);
        else if (fd >= 0 && from.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)six))
            mds_keep(peer, six + 12, 4);
        else if (fd >= 0 && from.ss_family == AF_INET6)
            mds_keep(peer, six, 16);
        return fd;
    }
    """
    # Four bytes of an IPv4 address, also if it is mapped into IPv6; sixteen of an IPv6 address; none if the peer has neither.
    struct Peer "mds_peer":
        Py_ssize_t size
        char[16] address
    int accept_from "mds_accept_from"(int listening, Peer* peer) noexcept nogil


cdef inline int next_connection(int listening, Peer* peer) except -2:
    """A descriptor that does not block; -1: there is none now. Raises OSError if none can be had, as when no more files may be open."""
    cdef int fd = accept_from(listening, peer)
    if fd >= 0:
        return fd
    if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED and errno != EPROTO:
        PyErr_SetFromErrno(OSError)
    return -1
