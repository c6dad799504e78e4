"""IPv4 sockets and epoll for the loops of the load test, without a Python object for each. Linux.

A function that fails returns a negative errno.
"""

from libc.stdint cimport int64_t, uint32_t

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>

    #ifndef IP_BIND_ADDRESS_NO_PORT
    #define IP_BIND_ADDRESS_NO_PORT 24
    #endif

    static inline int64_t mdb_clock(clockid_t which)
    {
        struct timespec now;
        clock_gettime(which, &now);
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    }
    static inline struct sockaddr_in mdb_address(uint32_t ip, int port)
    {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(ip)}};
        return address;
    }
    /* Starts to connect to ip:port, from `source` if that is not 0. `room`: bytes of the receive buffer, 0: the default. */
    static inline int mdb_connect(uint32_t ip, int port, uint32_t source, int room)
    {
        struct sockaddr_in to = mdb_address(ip, port), from = mdb_address(source, 0);
        int one = 1, problem, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return -errno;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (room)
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        if (source)
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if ((!source || bind(fd, (struct sockaddr *)&from, sizeof from) == 0) &&
            (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS))
            return fd;
        problem = errno;
        close(fd);
        return -problem;
    }
    static inline int mdb_listen(uint32_t ip, int port)
    {
        struct sockaddr_in at = mdb_address(ip, port);
        int one = 1, problem, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return -errno;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 4096) == 0)
            return fd;
        problem = errno;
        close(fd);
        return -problem;
    }
    static inline int mdb_accept(int listener)
    {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return -errno;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        return fd;
    }
    static inline int mdb_port(int fd)
    {
        struct sockaddr_in at;
        socklen_t size = sizeof at;
        return getsockname(fd, (struct sockaddr *)&at, &size) ? -errno : ntohs(at.sin_port);
    }
    static inline int mdb_problem(int fd)
    {
        int problem = 0;
        socklen_t size = sizeof problem;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
        return problem;
    }
    static inline int64_t mdb_recv(int fd, void *to, size_t room)
    {
        ssize_t got = recv(fd, to, room, MSG_DONTWAIT);
        return got < 0 ? -errno : got;
    }
    static inline int64_t mdb_send(int fd, const void *from, size_t size)
    {
        ssize_t sent = send(fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        return sent < 0 ? -errno : sent;
    }
    /* Closes. `reset` shows the peer a broken connection, and leaves no TIME_WAIT. */
    static inline void mdb_close(int fd, int reset)
    {
        struct linger now = {1, 0};
        if (reset)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
    }
    static inline int mdb_watch(int epoll, int how, int fd, uint32_t events, uint32_t mark)
    {
        struct epoll_event event = {.events = events, .data = {.u32 = mark}};
        return epoll_ctl(epoll, how, fd, &event) ? -errno : 0;
    }
    static inline int mdb_epoll(void)
    {
        int fd = epoll_create1(EPOLL_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    static inline uint32_t mdb_mark(const struct epoll_event *event) { return event->data.u32; }
    /* Waits for so many ns, rounded up to ms, and at most an hour. */
    static inline int mdb_wait(int epoll, struct epoll_event *events, int room, int64_t ns)
    {
        int got, ms = (int)(ns < 0 ? 0 : ns > 3600000000000 ? 3600000 : (ns + 999999) / 1000000);
        got = epoll_wait(epoll, events, room, ms);
        return got < 0 ? -errno : got;
    }
    """
    struct epoll_event:
        uint32_t events
    uint32_t event_mark "mdb_mark" (const epoll_event* event) noexcept nogil
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    int EPOLL_CTL_DEL
    uint32_t EPOLLIN
    uint32_t EPOLLOUT
    uint32_t EPOLLERR
    uint32_t EPOLLHUP
    int64_t clock_ns "mdb_clock" (int which) noexcept nogil
    int socket_connect "mdb_connect" (uint32_t ip, int port, uint32_t source, int room) noexcept nogil
    int socket_listen "mdb_listen" (uint32_t ip, int port) noexcept nogil
    int socket_accept "mdb_accept" (int listener) noexcept nogil
    int socket_port "mdb_port" (int fd) noexcept nogil
    int socket_problem "mdb_problem" (int fd) noexcept nogil
    int64_t socket_recv "mdb_recv" (int fd, void* to, size_t room) noexcept nogil
    int64_t socket_send "mdb_send" (int fd, const void* source, size_t size) noexcept nogil
    void socket_close "mdb_close" (int fd, bint reset) noexcept nogil
    int epoll_make "mdb_epoll" () noexcept nogil
    int epoll_watch "mdb_watch" (int epoll, int how, int fd, uint32_t events, uint32_t mark) noexcept nogil
    int epoll_until "mdb_wait" (int epoll, epoll_event* events, int room, int64_t ns) noexcept nogil

cdef enum:
    SECOND = 1000000000         # ns

# The dotted IPv4 address of a host, as a number; BenchError if it has none.
cdef uint32_t resolve(str host) except? 0
cdef str problem_text(int number)
# Waits until the socket is ready for `events`; BenchError with the text `what` if that takes too long.
cdef int await_socket(int fd, short events, int64_t until_ns, str what) except -1


cdef inline int64_t monotonic_ns() noexcept nogil:
    return clock_ns(CLOCK_MONOTONIC)


cdef inline int64_t realtime_us() noexcept nogil:
    return clock_ns(CLOCK_REALTIME) // 1000
