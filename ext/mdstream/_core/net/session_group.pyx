from collections import deque
from operator import itemgetter
from typing import NamedTuple

from libc.stdint cimport uint64_t

from mdstream._core.base.clock cimport monotonic_us
from mdstream._core.net.session_sink cimport SessionSink

from mdstream.codes import CloseCode

cdef enum:
    SPARE = 64                  # bytes, and a thousandth: what DEFLATE adds at most to what it cannot compress
    CLOSING_SHARE = 4           # of max_connections: so many may be there besides, on their way out
    CLOSING_LEAST = 16
    HASTE = 8                   # beyond twice what may wait, patience is so much shorter
    READ_SPACE = 65536
    DROP_US = 500               # of a turn of the loop: thousands may run out of time at once

cdef int TOO_SLOW = CloseCode.TOO_SLOW
cdef int UNLIMITED = 1 << 30


cdef int find_overdue(dict waiting, uint64_t now_us, object overdue) except -1:
    """Appends those whose deadline has passed."""
    for session, due_us in waiting.items():
        if <uint64_t>due_us > now_us:
            break
        overdue.append((waiting, session))
    return 0


class SessionLimits(NamedTuple):
    max_connections: int = 1_000_000
    max_message_bytes: int = 65536
    control_backlog_bytes: int = 262144
    handshake_s: float = 5.0
    close_timeout_s: float = 2.0
    max_unread_bytes: int = UNLIMITED
    stuck_s: float = 2.0
    control_frames_burst: int = UNLIMITED
    control_frames_per_second: int = UNLIMITED
    decoded_bytes_burst: int = UNLIMITED
    decoded_bytes_per_second: int = UNLIMITED


cdef class SessionGroup:
    """What all sessions of one listener share.

    Callbacks: ``on_request(session, head)`` gets an upgrade request without its empty line, and answers it by ``session.accept`` or
    ``session.refuse``, before it returns or later within ``handshake_s``; ``on_open(session)``; ``on_message(session, payload)`` gets
    a whole message (UTF-8 checked in JSON sessions); ``on_close(session, code)`` is called once for each session that was opened, also
    if the peer vanished (1006); ``on_gone(session)`` once for each of the others.
    ``on_limited(session, kind)``: what the peer sent is beyond a budget. ``decoded_bytes``: a message that was not read.
    ``control_frames``: there are too many pings; only the newest is answered. ``unread_bytes``: it is closed, see ``max_unread_bytes``.
    ``SessionClosed`` raised in ``on_open`` or ``on_message`` closes with its code; any other exception is logged and closes with 1011.
    What a callback sends leaves in one write.

    ``control_backlog_bytes``: how many bytes of control messages may wait for a peer that does not read; more closes with 4408.
    ``handshake_s``: from a connection to the answer to its upgrade request. ``close_timeout_s``: from our close frame to the end.
    ``max_unread_bytes``: how much may wait in memory for all peers together; beyond it, those that have read nothing for
    ``stuck_s`` are closed with 4408, those with most first; beyond twice as much, for an eighth of that time.
    ``control_frames_*``: how many pings, pongs and tiny fragments a session takes at once, and per second; a session that goes on is
    closed with 4429. ``decoded_bytes_*``: the same for the bytes of messages, decompressed.
    ``any_type``: accept text and binary whatever the format, and answer in kind (for conformance tests).

    ``connections`` counts those for which there was room when they came, half-open ones included, until they begin to close. A
    quarter more may be there because they are being closed; beyond that, the oldest of these is dropped.
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
        on_limited=None,
        limits=SessionLimits(),
        any_type: bool = False,
    ) -> None:
        self.hub = hub
        self.on_request = on_request
        self.on_open = on_open
        self.on_message = on_message
        self.on_close = on_close
        self.on_gone = on_gone
        self.on_limited = on_limited
        self.max_connections = limits.max_connections
        self.max_sockets = self.max_connections + self.max_connections // CLOSING_SHARE + CLOSING_LEAST
        self.max_unread = limits.max_unread_bytes
        self.stuck_us = <uint64_t>(limits.stuck_s * 1e6)
        self.control_frames = Allowance(limits.control_frames_burst, limits.control_frames_per_second)
        self.input_bytes = Allowance(limits.decoded_bytes_burst, limits.decoded_bytes_per_second)
        self.max_message = limits.max_message_bytes
        self.max_compressed = self.max_message + self.max_message // 1024 + SPARE
        self.control_backlog = limits.control_backlog_bytes
        self.handshake_us = <uint64_t>(limits.handshake_s * 1e6)
        self.close_us = <uint64_t>(limits.close_timeout_s * 1e6)
        self.any_type = any_type
        self.read_space = bytearray(READ_SPACE)
        self.handshakes = {}
        self.closings = {}
        self.overdue = deque()

    @property
    def half_open(self) -> int:
        """Connections whose upgrade request is not answered yet."""
        return len(self.handshakes)

    def tick(self) -> None:
        """Drops sessions that ran out of time in the handshake or in closing, and bounds what waits for those that do not read. Call it a
        few times a second: there are no other timers."""
        now_us = monotonic_us()
        if not self.overdue:
            find_overdue(self.handshakes, now_us, self.overdue)
            find_overdue(self.closings, now_us, self.overdue)
            self.drop_overdue()
        self.unread = 0
        if self.hub.slow.blocked:
            self.c_bound_unread(now_us)

    def drop_overdue(self) -> None:
        """Drops sessions that ran out of time, for about DROP_US; the others in the next turns of the loop."""
        cdef uint64_t until_us = monotonic_us() + DROP_US
        while self.overdue:
            waiting, session = self.overdue.popleft()
            if waiting.pop(session, None) is not None:      # else it has been answered, or has ended
                session.drop()
            if monotonic_us() >= until_us and self.overdue:
                self.call_soon(self.drop_overdue)
                break

    cdef int c_bound_unread(self, uint64_t now_us) except -1:
        cdef SessionSink sink
        cdef Py_ssize_t unread = 0
        cdef uint64_t patience_us = self.stuck_us
        cdef list stuck = []
        cdef list sinks = [each for each in self.hub.slow.blocked if isinstance(each, SessionSink)]
        for sink in sinks:
            unread += sink.c_look_at_held(now_us)
        self.unread = unread
        if unread <= self.max_unread:
            return 0
        if unread > 2 * self.max_unread:
            patience_us //= HASTE
        for sink in sinks:
            if now_us - sink.held_since_us >= patience_us:
                stuck.append((sink.held, sink.session))
        stuck.sort(key=itemgetter(0), reverse=True)
        for held, session in stuck:
            if self.on_limited is not None:
                self.on_limited(session, "unread_bytes")
            session.close(TOO_SLOW, "too slow: nothing was read, and memory is short")
            session.drop()
            unread -= held
            if unread <= self.max_unread:
                break
        return 0

    cdef bint c_add(self, object session) except -1:
        self.handshakes[session] = monotonic_us() + self.handshake_us
        if self.connections >= self.max_connections:
            return False
        self.connections += 1
        self.c_drop_oldest()
        return True

    cdef int c_limit_closing(self, object session, bint counted) except -1:
        self.connections -= counted
        if session not in self.closings:
            self.closings[session] = monotonic_us() + self.close_us
        return self.c_drop_oldest()

    cdef int c_drop_oldest(self) except -1:
        """So many may be there at a time, with those that are being closed."""
        while self.closings and self.connections + len(self.closings) > self.max_sockets:
            oldest = next(iter(self.closings))
            del self.closings[oldest]
            oldest.drop()
        return 0

    cdef int c_remove(self, object session, bint counted) except -1:
        self.connections -= counted
        self.handshakes.pop(session, None)
        self.closings.pop(session, None)
        return 0
