from os import strerror
from socket import AF_INET, SOCK_STREAM, gaierror, getaddrinfo

from mdstream.errors import BenchError

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long n, int ms)


cdef uint32_t resolve(str host) except? 0:
    try:
        found = getaddrinfo(host, None, AF_INET, SOCK_STREAM)
    except gaierror as error:
        raise BenchError(f"{host}: it has no IPv4 address ({error.strerror})") from error
    return int.from_bytes(bytes(map(int, found[0][4][0].split("."))), "big")


cdef str problem_text(int number):
    return strerror(number)


cdef int await_socket(int fd, short events, int64_t until_ns, str what) except -1:
    cdef pollfd one = pollfd(fd, events, 0)
    cdef int64_t left = until_ns - monotonic_ns()
    cdef int ready = 0
    while ready <= 0:
        left = until_ns - monotonic_ns()
        if left <= 0:
            raise BenchError(what)
        with nogil:
            ready = poll(&one, 1, <int>min(left // 1000000 + 1, <int64_t>100))
        if ready < 0:
            ready = 0                   # a signal; its handler runs before the next wait
    return 0
