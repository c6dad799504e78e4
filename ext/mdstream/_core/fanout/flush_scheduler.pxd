"""Decides when the hub is flushed, when it ticks, and when the socket to NATS is read."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum FlushState:
    IDLE
    REQUESTED
    COALESCING
    DEFERRED

cdef class FlushTarget:
    cdef readonly uint64_t defer_us     # how long what comes may wait to be read, for topics with intervals; 0: none has one
    cdef readonly uint64_t undelayed    # messages of topics without an interval so far
    cdef readonly uint64_t tick_us      # between two ticks while a topic waits

    # Whether a flush would send anything.
    cdef bint c_changed(self) except -1
    # Whether a tick is wanted within `tick_us`.
    cdef bint c_waits(self) except -1
    # Both return how many messages went to clients.
    cdef int64_t c_flush(self, uint64_t now_us, uint64_t wall_us) except -1
    cdef int64_t c_tick(self, uint64_t now_us, uint64_t wall_us) except -1

cdef class FlushScheduler:
    cdef FlushTarget hub
    cdef object on_tick
    cdef object clock
    cdef object wall_clock
    cdef object loop            # None before `start` and after `stop`
    cdef uint64_t coalesce_max_us
    cdef uint64_t idle_tick_us
    cdef FlushState state
    cdef object handle          # the loop's: of the end of a turn (REQUESTED), of a wait (COALESCING, DEFERRED)
    cdef object tick_handle
    cdef bint tick_is_idle      # the next tick comes after `idle_tick_us`
    cdef bint reading           # a read is being handed over
    cdef object turn_handle     # the loop's, of the end of a turn in which a read filled its buffer
    cdef uint64_t turn_us       # when the first of these reads ended
    cdef bint held              # the socket is paused until then
    cdef object transport       # of the socket to NATS, or None
    cdef uint64_t read_us       # when the last read ended, or the wait after it
    cdef uint64_t flushed_us    # when the last flush ended
    cdef uint64_t flush_took_us
    cdef uint32_t held_up       # flushes in a row that found the next updates waiting
    cdef bint met               # COALESCING: further updates came
    cdef uint64_t undelayed     # as the hub counted it when it was last looked at
    cdef uint64_t undelayed_us  # when that had last changed

    # An update waits to be flushed.
    cdef int c_request(self) except -1
    # All messages of a read are in the books. `more`: the read filled its buffer, so more waits in the socket.
    cdef int c_read_ended(self, bint more) except -1
    cdef int c_bound_turn(self) except -1
    cdef int c_let_go(self) except -1
    cdef uint64_t c_now(self) except? 0
    cdef uint64_t c_wall(self) except? 0
    cdef int c_flush_or_wait(self) except -1
    cdef uint64_t c_coalesce_us(self) except? 0
    cdef int c_flush(self) except -1
    cdef int c_defer(self) except -1
    cdef bint c_may_defer(self, uint64_t now_us, uint64_t defer_us) except -1
    cdef int c_read_on(self) except -1
    cdef int c_drop_handle(self) except -1
    cdef int c_tick(self) except -1
    cdef int c_schedule_tick(self) except -1
    cdef int c_tick_sooner(self) except -1
