"""Who is at the other end of a socket."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp

cdef extern from *:
    """
    #include <string.h>
    #include <sys/socket.h>
    #include <netinet/in.h>
    static const unsigned char mdstream_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
    """
    const unsigned char[12] mdstream_mapped
    ctypedef unsigned int socklen_t
    int AF_INET, AF_INET6
    struct in_addr:
        pass
    struct in6_addr:
        unsigned char[16] s6_addr
    struct sockaddr:
        pass
    struct sockaddr_in:
        in_addr sin_addr
    struct sockaddr_in6:
        in6_addr sin6_addr
    struct sockaddr_storage:
        int ss_family
    int getpeername(int fd, sockaddr* address, socklen_t* size) nogil


def peer_address(fd: int) -> bytes:
    """Four bytes of an IPv4 address, also if it is mapped into IPv6; sixteen of an IPv6 address; none if the peer has neither."""
    cdef sockaddr_storage found
    cdef socklen_t size = sizeof(found)
    cdef const unsigned char* at
    if getpeername(fd, <sockaddr*>&found, &size) < 0:
        return b""
    if found.ss_family == AF_INET:
        return PyBytes_FromStringAndSize(<const char*>&(<sockaddr_in*>&found).sin_addr, 4)
    if found.ss_family != AF_INET6:
        return b""
    at = (<sockaddr_in6*>&found).sin6_addr.s6_addr
    if memcmp(at, mdstream_mapped, 12) == 0:
        return PyBytes_FromStringAndSize(<const char*>at + 12, 4)
    return PyBytes_FromStringAndSize(<const char*>at, 16)
