"""From an accepted connection to a session that waits for its upgrade request."""

from mdstream._core.entry.headcount cimport Headcount
from mdstream._core.entry.visitor cimport Visitor
from mdstream._core.net.connection cimport Connection, Connections
from mdstream._core.net.secure_connection cimport SecureConnection
from mdstream._core.net.session cimport Session
from mdstream._core.net.session_group cimport SessionGroup

from mdstream._core.net.peer_address import peer_address


cdef class Doorway:
    """``admit`` it what was accepted. ``listener`` is told who is to be sent away, and does what waits: reading what a proxy says, and
    connections of the event loop."""

    cdef object listener
    cdef Headcount limits
    cdef object at_door
    cdef SessionGroup group
    cdef Py_ssize_t max_handshakes
    cdef public Connections connections
    cdef public object tls
    cdef public Py_ssize_t introductions

    def __init__(self, listener, SessionGroup group, Headcount limits not None, at_door, *, Py_ssize_t max_handshakes, tls) -> None:
        """``at_door`` says why nobody is let in now, None if somebody is. ``connections`` None: those of the event loop;
        ``introductions``: proxies that have not said yet whom they bring."""
        self.listener = listener
        self.group = group
        self.limits = limits
        self.at_door = at_door
        self.max_handshakes = max_handshakes
        self.tls = tls

    def admit(self, int fd) -> bool:
        """False if it was turned away."""
        cdef bytes peer
        if len(self.group.handshakes) + self.introductions >= self.max_handshakes:
            return self.listener.send_away(fd, 503)
        peer = peer_address(fd)
        if not self.limits.has_proxies or not self.limits.begins_with_proxy_header(peer):
            return self.serve(fd, peer)
        if (why := self.at_door()) is not None:
            return self.listener.send_away(fd, 503, why)
        self.listener.introduce(fd, peer)
        return True

    def serve(self, int fd, bytes peer, bytes source=None) -> bool:
        """Begins a session for a client at ``source``, or at ``peer`` as far as is known yet; False if it was turned away."""
        cdef Visitor visitor = self.limits.c_arrive(peer, source)
        if visitor is None:
            return self.listener.send_away(fd, 429)
        # What one address has too much of must not use up what all may have: so this is asked last.
        if source is None and (why := self.at_door()) is not None:
            self.limits.c_answered(visitor)
            return self.listener.send_away(fd, 503, why)
        self.c_begin(fd, visitor)
        return True

    cdef int c_begin(self, int fd, Visitor visitor) except -1:
        cdef Session session = Session(self.group)
        session.context = visitor
        if self.connections is None:
            self.listener.hand_over(fd, session)
        elif self.tls is None:
            session.connection_made(Connection(self.connections, fd, session))
        else:
            session.connection_made(SecureConnection(self.connections, fd, session, self.tls))
        return 0
