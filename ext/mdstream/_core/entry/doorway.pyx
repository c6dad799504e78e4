"""From a connection that waits at a listening socket to a session that waits for its upgrade request."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcmp

from mdstream._core.base.budget cimport Budget
from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.load_state cimport LoadState
from mdstream._core.entry.visitor cimport Visitor
from mdstream._core.net.accepting cimport Peer, next_connection
from mdstream._core.net.connection cimport Connection, Connections
from mdstream._core.net.secure_connection cimport SecureConnection
from mdstream._core.net.session cimport Session
from mdstream._core.net.session_group cimport SessionGroup

cdef enum:
    MOST_TAKEN = 16             # connections in a turn of the loop
    TURNED_AWAY = 8             # so many one counts as that is turned away: a flood of them gets less of a turn than clients do

# After it the loop does its other work: market data does not wait for a storm of connections. Other listening sockets are served in the
# same turn.
cdef double TAKING_S = 0.00025


cdef class Door:
    """Whether anybody may come now: unless the load of the gateway forbids it, or ``accepts`` is spent. ``why_shut`` is called for each
    who may not, and says why."""

    cdef LoadState load
    cdef Budget accepts
    cdef object why_shut
    cdef public object now_s        # a clock

    def __init__(self, LoadState load not None, Budget accepts not None, why_shut, now_s) -> None:
        self.load = load
        self.accepts = accepts
        self.why_shut = why_shut
        self.now_s = now_s

    cdef object c_why_not(self, double now_s):
        """None: somebody may come, and is counted."""
        if self.load.refuses is None and self.accepts.c_take(now_s, 1):
            return None
        return self.why_shut()


cdef class Doorway:
    """``take`` what waits at a listening socket. ``listener`` is told who is to be sent away, and does what waits: reading what a proxy
    says, and connections of the event loop."""

    cdef object listener
    cdef Headcount limits
    cdef Door door
    cdef SessionGroup group
    cdef Py_ssize_t max_handshakes
    cdef bytes last_peer            # clients of one address, such as a proxy's, share it
    cdef public Connections connections
    cdef public object tls
    cdef public Py_ssize_t introductions

    def __init__(self, listener, SessionGroup group, Headcount limits not None, Door door not None, *, Py_ssize_t max_handshakes, tls) -> None:
        """``connections`` None: those of the event loop; ``introductions``: proxies that have not said yet whom they bring."""
        self.listener = listener
        self.group = group
        self.limits = limits
        self.door = door
        self.max_handshakes = max_handshakes
        self.tls = tls
        self.last_peer = b""

    def take(self, int listening) -> None:
        """Takes connections for a small part of a turn. Raises OSError if none can be had, as when no more files may be open."""
        cdef double now_s = self.door.now_s()
        cdef double until_s = now_s + TAKING_S
        cdef Py_ssize_t left = MOST_TAKEN
        cdef Peer peer
        cdef int fd
        while left > 0:
            fd = next_connection(listening, &peer)
            if fd < 0:
                return
            left -= 1 if self.c_admit(fd, self.c_address(&peer), now_s) else TURNED_AWAY
            now_s = self.door.now_s()
            if now_s >= until_s:
                return

    cdef bytes c_address(self, const Peer* peer):
        cdef bytes last = self.last_peer
        if peer.size != len(last) or memcmp(peer.address, PyBytes_AS_STRING(last), peer.size):
            last = self.last_peer = PyBytes_FromStringAndSize(peer.address, peer.size)
        return last

    cdef bint c_admit(self, int fd, bytes peer, double now_s) except -1:
        """False if it was turned away."""
        if len(self.group.handshakes) + self.introductions >= self.max_handshakes:
            return self.listener.send_away(fd, 503)
        if not self.limits.has_proxies or not self.limits.begins_with_proxy_header(peer):
            return self.c_serve(fd, peer, None, now_s)
        if (why := self.door.c_why_not(now_s)) is not None:
            return self.listener.send_away(fd, 503, why)
        self.listener.introduce(fd, peer)
        return True

    def serve(self, int fd, bytes peer, bytes source not None) -> bool:
        """Begins a session for a client at ``source``, which the proxy at ``peer`` has told; False if it was turned away."""
        return self.c_serve(fd, peer, source, 0.0)

    cdef bint c_serve(self, int fd, bytes peer, bytes source, double now_s) except -1:
        cdef Visitor visitor = self.limits.c_arrive(peer, source)
        if visitor is None:
            return self.listener.send_away(fd, 429)
        # What one address has too much of must not use up what all may have: so this is asked last.
        if source is None and (why := self.door.c_why_not(now_s)) is not None:
            self.limits.c_answered(visitor)
            return self.listener.send_away(fd, 503, why)
        self.c_begin(fd, visitor)
        return True

    cdef int c_begin(self, int fd, Visitor visitor) except -1:
        cdef Session session = Session.__new__(Session)
        cdef Connection connection
        session.c_begin(self.group)
        session.context = visitor
        if self.connections is None:
            self.listener.hand_over(fd, session)
        elif self.tls is None:
            connection = Connection.__new__(Connection)
            connection.c_begin(self.connections, fd, session)
            session.c_on_connection(connection)
        else:
            session.c_on_connection(SecureConnection(self.connections, fd, session, self.tls))
        return 0
