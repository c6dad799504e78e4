from typing import NamedTuple

from libc.stdint cimport uint64_t

from mdstream._core.base.clock cimport monotonic_us

cdef enum:
    SPARE = 64                  # bytes, and a thousandth: what DEFLATE adds at most to what it cannot compress
    READ_SPACE = 65536


cdef list expired(dict waiting, uint64_t now_us):
    """Removes and returns the sessions whose deadline has passed."""
    cdef list found = []
    for session, due_us in waiting.items():
        if <uint64_t>due_us > now_us:
            break
        found.append(session)
    for session in found:
        del waiting[session]
    return found


class SessionLimits(NamedTuple):
    max_connections: int = 1_000_000
    max_message_bytes: int = 65536
    control_backlog_bytes: int = 262144
    handshake_s: float = 5.0
    close_timeout_s: float = 2.0


cdef class SessionGroup:
    """What all sessions of one listener share.

    Callbacks: ``on_request(session, head)`` gets an upgrade request without its empty line, and answers it by ``session.accept`` or
    ``session.refuse``, before it returns or later within ``handshake_s``; ``on_open(session)``; ``on_message(session, payload)`` gets
    a whole message (UTF-8 checked in JSON sessions); ``on_close(session, code)`` is called once for each session that was opened, also
    if the peer vanished (1006); ``on_gone(session)`` once for each of the others.
    ``SessionClosed`` raised in ``on_open`` or ``on_message`` closes with its code; any other exception is logged and closes with 1011.
    What a callback sends leaves in one write.

    ``control_backlog_bytes``: how many bytes of control messages may wait for a peer that does not read; more closes with 4408.
    ``handshake_s``: from a connection to the answer to its upgrade request. ``close_timeout_s``: from our close frame to the end.
    ``any_type``: accept text and binary whatever the format, and answer in kind (for conformance tests).

    ``connections`` counts those for which there was room when they came, half-open ones included, until they end.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        on_request,
        on_open,
        on_message,
        on_close,
        on_gone=None,
        limits=SessionLimits(),
        any_type: bool = False,
    ) -> None:
        self.hub = hub
        self.on_request = on_request
        self.on_open = on_open
        self.on_message = on_message
        self.on_close = on_close
        self.on_gone = on_gone
        self.max_connections = limits.max_connections
        self.max_message = limits.max_message_bytes
        self.max_compressed = self.max_message + self.max_message // 1024 + SPARE
        self.control_backlog = limits.control_backlog_bytes
        self.handshake_us = <uint64_t>(limits.handshake_s * 1e6)
        self.close_us = <uint64_t>(limits.close_timeout_s * 1e6)
        self.any_type = any_type
        self.read_space = bytearray(READ_SPACE)
        self.handshakes = {}
        self.closings = {}

    @property
    def half_open(self) -> int:
        """Connections whose upgrade request is not answered yet."""
        return len(self.handshakes)

    def tick(self) -> None:
        """Drops sessions that ran out of time in the handshake or in closing. Call it a few times a second: there are no other timers."""
        now_us = monotonic_us()
        for session in expired(self.handshakes, now_us):
            session.drop()
        for session in expired(self.closings, now_us):
            session.drop()

    cdef bint c_add(self, object session) except -1:
        self.handshakes[session] = monotonic_us() + self.handshake_us
        if self.connections >= self.max_connections:
            return False
        self.connections += 1
        return True

    cdef int c_limit_closing(self, object session) except -1:
        if session not in self.closings:
            self.closings[session] = monotonic_us() + self.close_us
        return 0

    cdef int c_remove(self, object session, bint counted) except -1:
        self.connections -= counted
        self.handshakes.pop(session, None)
        self.closings.pop(session, None)
        return 0
