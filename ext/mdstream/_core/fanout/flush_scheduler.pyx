"""One place for the question: when is what came from the bus sent? It is measured on a monotonic clock."""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.base.clock cimport monotonic_us, wall_us

cdef enum:
    TICK_US = 50_000            # while a topic waits for the end of its interval, unless the target says otherwise
    IDLE_TICK_US = 200_000      # else: enough for heartbeats and timeouts
    LEAST_COALESCE_US = 500     # a shorter wait is none: the loop's timers count milliseconds
    LEAST_DEFER_US = 1_000
    HELD_UP_ENOUGH = 3          # flushes in a row that held something up: no hiccup
    HELD_UP_SHARE = 10          # a flush held something up if updates came within this fraction of its own time
    COALESCE_SHARE = 2          # a wait takes this fraction of the flush's own time
    TURN_US = 5_000             # what reads that fill their buffer may take of a turn of the loop
    QUIET_DEFERS = 10           # deferrals without an undelayed message, after which the socket may be deferred

cdef tuple STATES = ("idle", "requested", "coalescing", "deferred")


cdef class FlushTarget:
    """What a scheduler flushes and ticks: the interface of ``Hub``."""

    def __cinit__(self):
        self.tick_us = TICK_US

    cdef bint c_changed(self) except -1:
        raise NotImplementedError

    cdef bint c_waits(self) except -1:
        raise NotImplementedError

    cdef int64_t c_flush(self, uint64_t now_us, uint64_t time_us) except -1:
        raise NotImplementedError

    cdef int64_t c_tick(self, uint64_t now_us, uint64_t time_us) except -1:
        raise NotImplementedError


cdef class FlushScheduler:
    """Flushes and ticks a hub, and pauses the socket to NATS while nobody waits for single messages.

    ========== ========================================= ============ =======================================================
    state      what waits                                socket       leaves it
    ========== ========================================= ============ =======================================================
    idle       nothing                                   read         an update asks for a flush → requested; a read ends, and
                                                                      reads follow each other quickly → deferred
    requested  updates, for the end of the read or of    read         the end: flushes → idle; if three flushes in a row found
               the loop's turn                                        updates waiting → coalescing
    coalescing updates, half as long as the last flush   read         its time is over: flushes → idle
               took, at most ``coalesce_max_us``
    deferred   what lies in the socket, a tenth of the   paused       its time is over, or a tick → idle; an update asks for a
               shortest interval, at most                             flush → requested
               ``coalesce_max_us``
    ========== ========================================= ============ =======================================================

    However much comes in, the loop's other events, clients above all, have their turn: while reads fill their buffer, the loop reads
    on in the same turn, up to 8 MB. After 5 ms the scheduler pauses the socket until the next turn.

    Deferred is for gateways whose clients have asked for intervals: reading what comes in a while together costs less than
    waking up for each piece. The socket is read before a tick, so what is sent at the end of an interval is as new as ever.
    Topics without an interval may be there too. One that was sent nothing for ten deferrals can be late by one; while
    it is sent something more often, nothing is deferred.
    """

    def __init__(self, FlushTarget hub not None, *, uint64_t coalesce_max_us=10_000, uint64_t idle_tick_us=IDLE_TICK_US,
                 on_tick=None, clock=None, wall_clock=None):
        """``coalesce_max_us`` bounds how long updates wait to meet others, 0: never. ``idle_tick_us``: between two ticks while
        no topic waits, 50,000 to 200,000. ``on_tick`` is called after each tick. ``clock``: monotonic µs;
        ``wall_clock``: µs since the Unix epoch, which the hub gets with it.
        """
        self.hub = hub
        self.coalesce_max_us = coalesce_max_us
        self.idle_tick_us = min(max(idle_tick_us, <uint64_t>TICK_US), <uint64_t>IDLE_TICK_US)
        self.on_tick = on_tick
        self.clock = clock
        self.wall_clock = wall_clock

    @property
    def state(self):
        """idle, requested, coalescing or deferred."""
        return STATES[self.state]

    def start(self, loop not None):
        """Ticks now, and from now on."""
        self.loop = loop
        self._tick()

    def stop(self):
        """Nothing that waits is flushed any more, and the socket is read. Nothing happens if it was not started."""
        self.attach(None)
        if self.tick_handle is not None:
            self.tick_handle.cancel()
        self.tick_handle = self.loop = None

    def attach(self, transport):
        """From now on the socket behind this transport is the one to pause; None: there is none."""
        self.c_read_on()
        self.c_let_go()
        if transport is None:
            self.c_drop_handle()
            self.state = IDLE
        self.transport = transport

    # ---- flushing

    def request(self):
        """An update waits to be flushed: at the end of the read that brought it, or of this turn of the loop."""
        self.c_request()

    cdef int c_request(self) except -1:
        if self.state == REQUESTED:
            return 0
        if self.state == COALESCING:
            self.met = True
            return 0
        self.c_read_on()
        self.state = REQUESTED
        if not self.reading:
            self.handle = self.loop.call_soon(self._turn_ended)
        return 0

    def flush(self):
        """Flushes now, for one who must be told something after the data."""
        self.hub.c_flush(self.c_now(), self.c_wall())
        self.c_tick_sooner()

    cdef int c_read_ended(self, bint more) except -1:
        if self.hub.c_changed():
            self.c_request()
        self.reading = False
        if more and self.transport is not None:
            self.c_bound_turn()
        if self.state == REQUESTED and self.handle is None:
            if more:
                self.handle = self.loop.call_soon(self._turn_ended)
            else:
                self.c_flush_or_wait()
        if self.state == IDLE and not more and self.transport is not None:
            self.c_defer()
        return 0

    def _turn_ended(self):
        self.handle = None
        self.c_flush_or_wait()

    def _wait_ended(self):
        self.handle = None
        if not self.met:
            self.held_up = 0        # it waited for nothing
        self.c_flush()

    cdef int c_flush_or_wait(self) except -1:
        cdef uint64_t wait_us = self.c_coalesce_us()
        if wait_us < LEAST_COALESCE_US:
            return self.c_flush()
        self.state = COALESCING
        self.met = False
        self.handle = self.loop.call_later(wait_us / 1e6, self._wait_ended)
        return 0

    cdef uint64_t c_coalesce_us(self) except? 0:
        """How long the next flush is to wait. A gateway that cannot keep up lets updates meet in one flush."""
        cdef uint64_t since_us = self.c_now() - self.flushed_us
        cdef uint64_t wait_us = min(self.flush_took_us // COALESCE_SHARE, self.coalesce_max_us)
        self.held_up = self.held_up + 1 if since_us * HELD_UP_SHARE < self.flush_took_us else 0
        if self.held_up < HELD_UP_ENOUGH or wait_us < since_us:
            return 0
        return wait_us - since_us

    cdef int c_flush(self) except -1:
        cdef uint64_t began_us = self.c_now()
        self.state = IDLE
        self.hub.c_flush(began_us, self.c_wall())
        self.flushed_us = self.c_now()
        self.flush_took_us = self.flushed_us - began_us
        return self.c_tick_sooner()

    # ---- the socket

    cdef int c_defer(self) except -1:
        """Pauses the socket if reads follow each other quickly: as a network card moderates its interrupts."""
        cdef uint64_t defer_us = min(self.hub.defer_us, self.coalesce_max_us)
        cdef uint64_t now_us
        if defer_us < LEAST_DEFER_US:
            return 0
        now_us = self.c_now()
        if self.c_may_defer(now_us, defer_us) and self.transport.is_reading():
            self.transport.pause_reading()
            self.state = DEFERRED
            self.handle = self.loop.call_later(defer_us / 1e6, self._read_again)
        return 0

    cdef bint c_may_defer(self, uint64_t now_us, uint64_t defer_us) except -1:
        cdef uint64_t undelayed = self.hub.undelayed
        cdef bint quick = now_us - self.read_us < defer_us
        self.read_us = now_us
        if undelayed != self.undelayed:
            self.undelayed = undelayed
            self.undelayed_us = now_us
        return quick and (not undelayed or now_us - self.undelayed_us >= QUIET_DEFERS * defer_us)

    def _read_again(self):
        self.c_read_on()

    cdef int c_bound_turn(self) except -1:
        cdef uint64_t now_us = self.c_now()
        if self.turn_handle is None:
            self.turn_us = now_us
            self.turn_handle = self.loop.call_soon(self._next_turn)
        elif now_us - self.turn_us >= TURN_US and self.transport.is_reading():
            self.transport.pause_reading()
            self.held = True
        return 0

    def _next_turn(self):
        self.turn_handle = None
        self.c_let_go()

    cdef int c_let_go(self) except -1:
        if self.held:
            self.held = False
            self.transport.resume_reading()
        return 0

    cdef int c_read_on(self) except -1:
        if self.state == DEFERRED:
            self.c_drop_handle()
            self.state = IDLE
            self.read_us = self.c_now()
            self.transport.resume_reading()
        return 0

    # ---- ticks

    def _tick(self):
        if self.state != DEFERRED:
            self.c_tick()
            return
        self.c_read_on()
        self.tick_handle = self.loop.call_soon(self._after_next_turn)       # in which the socket is read

    def _after_next_turn(self):
        self.tick_handle = self.loop.call_soon(self._tick_now)

    def _tick_now(self):
        self.c_tick()       # also if the socket is paused again: it was read

    cdef int c_tick(self) except -1:
        try:
            self.hub.c_tick(self.c_now(), self.c_wall())
            if self.on_tick is not None:
                self.on_tick()
        finally:
            self.c_schedule_tick()
        return 0

    cdef int c_schedule_tick(self) except -1:
        if self.loop is None:       # stopped by the tick
            return 0
        self.tick_is_idle = not self.hub.c_waits()
        self.tick_handle = self.loop.call_later((self.idle_tick_us if self.tick_is_idle else self.hub.tick_us) / 1e6, self._tick)
        return 0

    cdef int c_tick_sooner(self) except -1:
        """A flush may have made a topic wait for the end of its interval."""
        if self.tick_is_idle and self.tick_handle is not None and self.hub.c_waits():
            self.tick_handle.cancel()
            self.c_schedule_tick()
        return 0

    cdef int c_drop_handle(self) except -1:
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.cancel()
        return 0

    cdef uint64_t c_now(self) except? 0:
        return monotonic_us() if self.clock is None else self.clock()

    cdef uint64_t c_wall(self) except? 0:
        return wall_us() if self.wall_clock is None else self.wall_clock()
