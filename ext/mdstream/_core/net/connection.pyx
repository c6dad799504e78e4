cimport cython

import logging
import os
from collections import deque

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove
from posix.unistd cimport close

from mdstream._core.base.check cimport check
from mdstream._core.base.buffer cimport buffer_free, buffer_reserve
from mdstream._core.base.clock cimport monotonic_us
from mdstream._core.net.socket_send cimport MSG_DONTWAIT, MSG_NOSIGNAL, reset_on_close, send, undelivered

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/socket.h>
    #if defined(__linux__)
    #include <sys/epoll.h>
    #define MDSTREAM_HAS_EPOLL 1
    #else
    #include <stdint.h>
    #define MDSTREAM_HAS_EPOLL 0
    #define EPOLLIN 1
    #define EPOLLOUT 4
    #define EPOLLERR 8
    #define EPOLLHUP 16
    #define EPOLL_CTL_ADD 1
    #define EPOLL_CTL_DEL 2
    #define EPOLL_CTL_MOD 3
    #define EPOLL_CLOEXEC 0
    struct epoll_event { uint32_t events; union { void* ptr; } data; };
    static int epoll_create1(int flags) { (void)flags; errno = ENOSYS; return -1; }
    static int epoll_ctl(int a, int b, int c, struct epoll_event* d) { (void)a; (void)b; (void)c; (void)d; errno = ENOSYS; return -1; }
    static int epoll_wait(int a, struct epoll_event* b, int c, int d) { (void)a; (void)b; (void)c; (void)d; errno = ENOSYS; return -1; }
    #endif
    """
    enum:
        MDSTREAM_HAS_EPOLL
        EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_CLOEXEC
        SHUT_WR
    union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags) nogil
    int epoll_ctl(int epoll, int what, int fd, epoll_event* event) nogil
    int epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms) nogil
    Py_ssize_t recv(int fd, void* data, size_t size, int flags) nogil
    int shutdown(int fd, int how) nogil

cdef enum:
    READ_SPACE = 65536          # bytes read at a time
    BATCH = 16                  # events taken from the kernel at a time
    TURN_US = 1000              # until the event loop goes on with what else is ready
    REAP_US = 500               # of it, for closing those that have ended: the kernel takes longer for that than for an event
    ORPHAN_MOST = 16384         # bytes that the kernel may go on delivering when a connection has ended
    REQUEST_MOST = 16384        # bytes that are read of one who is turned away

cdef object logger = logging.getLogger("mdstream.connection")

# Whether this system has epoll. Without it, connections are asyncio's.
AVAILABLE = bool(MDSTREAM_HAS_EPOLL)


def turn_away(fd: int, answer: bytes | None) -> None:
    """Closes a connection that was just accepted, with as much of ``answer`` as its socket takes at once; None: by a reset.

    What has come already is read: else the system would send a reset too, and the client might lose the answer to it.
    """
    cdef int leaving = fd
    cdef const char* at = NULL
    cdef char[REQUEST_MOST] request
    if answer is None:
        reset_on_close(leaving)
    elif len(answer):
        at = answer
        send(leaving, at, len(answer), MSG_DONTWAIT | MSG_NOSIGNAL)
        recv(leaving, request, REQUEST_MOST, MSG_DONTWAIT)
    close(leaving)


cdef class ConnectionHandler:
    """Handles what happens to a connection, as ``Session`` does. An exception that it raises ends the connection."""

    cdef int c_received(self, char* data, Py_ssize_t size) except -1:
        return 0

    cdef int c_eof(self) except -1:
        return 0

    cdef int c_drained(self) except -1:
        return 0

    cdef int c_lost(self) except -1:
        return 0


cdef class Connections:
    """All connections of one event loop, behind one epoll descriptor that the loop watches.

    They keep the loop for about a millisecond at most; then other events that are ready have their turn. Those that have ended are
    closed in the next turns, as thousands may end at once. The constructor raises OSError where there is no epoll, or no descriptor left.
    """

    def __cinit__(self, loop: object, hub: Hub | None = None) -> None:
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.loop = loop
        self.hub = hub
        self.space = bytearray(READ_SPACE)
        self.ended = deque()
        loop.add_reader(self.epoll, self.run)

    def __dealloc__(self) -> None:
        free(self.connections)

    def __len__(self) -> int:
        return self.count

    def run(self) -> None:
        """Serves what is ready, for about TURN_US. What remains is still ready when the event loop calls again."""
        self.running = True
        if self.hub is not None:
            self.hub.c_enter()
        try:
            self.c_serve_ready()
        finally:
            self.running = False
            if self.hub is not None:
                self.hub.c_leave()
        self.c_reap_soon()

    cdef int c_serve_ready(self) except -1:
        cdef epoll_event[BATCH] events
        cdef uint64_t until_us = monotonic_us() + (TURN_US - REAP_US if self.ended else TURN_US)
        cdef int n = BATCH
        cdef int first, i
        while n == BATCH and monotonic_us() < until_us and not self.closed:
            n = epoll_wait(self.epoll, events, BATCH, 0)
            first = self.left
            self.left = 0
            for i in range(first, first + n):
                self.c_serve(<Connection>events[i % n].data.ptr, events[i % n].events)
                if monotonic_us() >= until_us:
                    self.left = (i + 1) % n         # the kernel reports few connections in the same order again
                    break
        return 0

    cdef int c_serve(self, Connection connection, uint32_t events) except -1:
        check(self.connections[connection.index] == <PyObject*>connection)
        if connection.state >= CONNECTION_ENDED:    # by an event of another one in this batch
            return 0
        try:
            connection.c_on_event(events)
        except Exception:
            logger.exception("a connection is dropped because of an internal error")
            connection.abort()
        return 0

    cdef int c_add(self, Connection connection) except -1:
        cdef epoll_event event
        cdef Py_ssize_t larger
        cdef PyObject** moved
        if self.count == self.capacity:
            larger = self.capacity * 2 if self.capacity else 64
            moved = <PyObject**>realloc(self.connections, larger * sizeof(PyObject*))
            if moved == NULL:
                raise MemoryError(f"no memory for {larger} connections")
            self.connections = moved
            self.capacity = larger
        event.events = connection.watched
        event.data.ptr = <void*>connection
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, connection.fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        Py_INCREF(connection)
        connection.index = self.count
        self.connections[self.count] = <PyObject*>connection
        self.count += 1
        return 0

    cdef int c_remove(self, Connection connection) except -1:
        cdef Connection last = <Connection>self.connections[self.count - 1]
        check(self.connections[connection.index] == <PyObject*>connection and last.index == self.count - 1)
        self.connections[connection.index] = <PyObject*>last
        last.index = connection.index
        self.count -= 1
        Py_DECREF(connection)
        return 0

    cdef int c_end(self, Connection connection) except -1:
        """No event of it is served from here on. It is closed later, when no function that uses it is running."""
        cdef epoll_event event
        connection.c_set_state(CONNECTION_ENDED)
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, connection.fd, &event)
        self.ended.append(connection)
        if not self.running:
            self.c_reap_soon()
        return 0

    cdef int c_reap_soon(self) except -1:
        """In the next turn of the loop."""
        if self.ended and not self.reaping:
            self.reaping = True
            self.loop.call_soon(self.reap)
        return 0

    def reap(self) -> None:
        """Closes those that have ended, for about REAP_US."""
        cdef uint64_t until_us = monotonic_us() + REAP_US
        self.reaping = False
        while self.ended and monotonic_us() < until_us:
            self.c_reap()
        self.c_reap_soon()

    cdef int c_reap(self) except -1:
        cdef Connection connection = self.ended.popleft()
        self.c_remove(connection)
        try:
            connection.handler.c_lost()
        except Exception:
            logger.exception("handling the end of a connection failed")
        connection.c_set_state(CONNECTION_CLOSED)
        close(connection.fd)
        connection.fd = -1
        connection.handler = None
        buffer_free(&connection.pending)
        return 0

    def close(self) -> None:
        """Ends all connections, and stops watching."""
        check(not self.running)
        if self.closed:
            return
        while self.count:
            (<Connection>self.connections[self.count - 1]).abort()
            while self.ended:
                self.c_reap()
        self.closed = True
        self.loop.remove_reader(self.epoll)
        close(self.epoll)


@cython.no_gc              # it ends in `c_reap`, which lets go of its handler: so the collector need not look at each
cdef class Connection:
    """One TCP connection. It has what a session uses of an asyncio transport, with the same meaning, but never calls
    ``pause_writing``. It owns ``fd``, unless the constructor raises OSError.

    =========== ================================= ====== ==================================== ===========================
    state       entered by                        reads  writes                               next
    =========== ================================= ====== ==================================== ===========================
    OPEN        the constructor                   yes    yes                                  HALF_CLOSED, CLOSING, ENDED
    HALF_CLOSED ``write_eof``                     yes    what is pending, then its end (FIN)  CLOSING, ENDED
    CLOSING     ``close`` while much is not       no     what is pending                      ENDED, once that is delivered,
                delivered                                                                     or by ``abort``
    ENDED       ``abort``, ``close``, an error    no     no                                   CLOSED, very soon
    CLOSED      ``Connections``                   the handler was told, the descriptor is closed
    =========== ================================= ====== ==================================== ===========================

    A peer that does not read could leave megabytes in the kernel, for minutes after the end. ``abort`` has them thrown away; its
    owner calls it when a connection has been CLOSING for too long.
    """

    def __init__(self, connections: Connections, fd: int, handler: ConnectionHandler) -> None:
        self.c_begin(connections, fd, handler)

    cdef int c_begin(self, Connections connections, int fd, ConnectionHandler handler) except -1:
        self.connections = connections
        self.handler = handler
        self.fd = fd
        self.watched = EPOLLIN
        return connections.c_add(self)

    def __dealloc__(self) -> None:
        buffer_free(&self.pending)

    cdef void c_set_state(self, ConnectionState state) noexcept:
        check(state > self.state and (state < CONNECTION_CLOSED or self.state == CONNECTION_ENDED))
        self.state = state

    cdef int c_watch(self) except -1:
        """Tells the kernel which events to report."""
        cdef epoll_event event
        cdef uint32_t wanted = EPOLLIN if self.state < CONNECTION_CLOSING and not self.paused else 0
        if self.c_pending() or self.asked:
            wanted |= EPOLLOUT
        if wanted == self.watched or self.state >= CONNECTION_ENDED:
            return 0
        self.watched = wanted
        event.events = wanted
        event.data.ptr = <void*>self
        if epoll_ctl(self.connections.epoll, EPOLL_CTL_MOD, self.fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        return 0

    # ---- in

    cdef int c_on_event(self, uint32_t events) except -1:
        if events & EPOLLOUT:
            self.c_writable()
        if self.state >= CONNECTION_ENDED:
            return 0
        if events & EPOLLIN and self.watched & EPOLLIN:     # it may have been paused by another one in this batch
            return self.c_read()
        if events & (EPOLLERR | EPOLLHUP):
            self.abort()
        return 0

    cdef int c_read(self) except -1:
        cdef char* space = self.connections.space
        cdef Py_ssize_t size = recv(self.fd, space, READ_SPACE, MSG_DONTWAIT)
        if size > 0:
            return self.handler.c_received(space, size)
        if size == 0:
            return self.handler.c_eof()
        if errno != EAGAIN and errno != EINTR:
            self.abort()
        return 0

    # ---- out: the methods of an asyncio transport

    cdef Py_ssize_t c_pending(self) noexcept:
        return self.pending.size - self.sent

    cdef int c_queue(self, const char* data, Py_ssize_t size) except -1:
        """Adds to what is pending, and forgets what was sent of it once that is the greater part."""
        if self.sent > self.c_pending():
            memmove(self.pending.data, self.pending.data + self.sent, self.c_pending())
            self.pending.size -= self.sent
            self.sent = 0
        buffer_reserve(&self.pending, size)
        memcpy(self.pending.data + self.pending.size, data, size)
        self.pending.size += size
        return self.c_watch()

    def write(self, data: bytes) -> None:
        cdef const char* at = data
        cdef Py_ssize_t size = len(data)
        cdef Py_ssize_t sent = 0
        if self.state != CONNECTION_OPEN:
            return
        if not self.c_pending():
            sent = send(self.fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.abort()
                    return
                sent = 0
        if sent < size:
            self.c_queue(at + sent, size - sent)

    cdef int c_writable(self) except -1:
        if self.c_pending():
            return self.c_send_pending()
        self.asked = False
        self.handler.c_drained()
        return self.c_watch()

    cdef int c_ask_again(self) except -1:
        self.asked = True
        return self.c_watch()

    cdef int c_send_pending(self) except -1:
        cdef Py_ssize_t sent = send(
            self.fd, self.pending.data + self.sent, self.c_pending(), MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self.abort()
            return 0
        self.sent += sent
        if self.c_pending():
            return 0
        self.sent = 0
        buffer_free(&self.pending)
        if self.state == CONNECTION_CLOSING:
            self.c_finish()
        elif self.state == CONNECTION_HALF_CLOSED:
            shutdown(self.fd, SHUT_WR)
        else:
            self.handler.c_drained()
        return self.c_watch()

    def get_write_buffer_size(self) -> int:
        return self.c_pending()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self.state != CONNECTION_OPEN:
            return
        self.c_set_state(CONNECTION_HALF_CLOSED)
        if not self.c_pending():
            shutdown(self.fd, SHUT_WR)

    def is_closing(self) -> bool:
        return self.state >= CONNECTION_CLOSING

    def close(self) -> None:
        if self.state >= CONNECTION_CLOSING:
            return
        if not self.c_pending() and undelivered(self.fd) <= ORPHAN_MOST:
            self.c_finish()
            return
        self.c_set_state(CONNECTION_CLOSING)
        self.c_watch()

    cdef int c_finish(self) except -1:
        if self.state < CONNECTION_ENDED:
            if undelivered(self.fd) > ORPHAN_MOST:
                return self.c_watch()
            self.connections.c_end(self)
        return 0

    def abort(self) -> None:
        if self.state < CONNECTION_ENDED:
            if self.c_pending() or undelivered(self.fd):
                reset_on_close(self.fd)
            self.connections.c_end(self)

    # ---- in, once more

    def is_reading(self) -> bool:
        return self.state < CONNECTION_CLOSING and not self.paused

    def pause_reading(self) -> None:
        self.paused = True
        self.c_watch()

    def resume_reading(self) -> None:
        self.paused = False
        self.c_watch()
