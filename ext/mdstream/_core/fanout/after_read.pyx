from functools import partial

from libc.stdint cimport UINT64_MAX, uint64_t

from mdstream._core.base.clock cimport monotonic_us

cdef enum:
    LEAST_REST_US = 1000        # the loop's timers count milliseconds


cdef class Wake:
    def __init__(self, callback not None):
        self.callback = callback

    def set(self):
        self.c_set()

    def clear(self):
        self.due = False

    cdef int c_set(self) except -1:
        if not self.due:
            self.due = True
            self.callback()
        return 0


cdef class Patience:
    pass


cdef class _Waiter:
    cdef Wake wake
    cdef object on_due
    cdef Patience patience
    cdef uint64_t most_us


cdef class AfterRead:
    def __init__(self):
        self.waiters = ()

    def add(self, Wake wake not None, on_due not None, Patience patience not None, uint64_t most_us):
        cdef _Waiter waiter = _Waiter()
        waiter.wake, waiter.on_due, waiter.patience, waiter.most_us = wake, on_due, patience, most_us
        self.waiters += (waiter,)
        return partial(self._remove, waiter)

    def _remove(self, waiter):
        self.waiters = tuple([other for other in self.waiters if other is not waiter])
        self.resume()

    def attach(self, socket, call_later not None):
        self.resume()
        self.socket, self.call_later = socket, call_later

    @property
    def resting(self):
        return self.timer is not None

    cdef int c_run(self, bint more) except -1:
        cdef _Waiter waiter
        cdef uint64_t rest_us
        for waiter in self.waiters:
            if waiter.wake.due:
                waiter.on_due(more)
        if not more and self.socket is not None:
            rest_us = self.c_rest_us()
            if rest_us >= LEAST_REST_US:
                self.c_rest(rest_us)
        return 0

    cdef uint64_t c_rest_us(self) noexcept:
        """As long as the least patient of them allows."""
        cdef _Waiter waiter
        cdef uint64_t rest_us = UINT64_MAX if self.waiters else 0
        for waiter in self.waiters:
            rest_us = min(rest_us, waiter.patience.us, waiter.most_us)
        return rest_us

    cdef int c_rest(self, uint64_t rest_us) except -1:
        """Being woken up for a handful of messages costs more than they do, so those of a while are read together, as a network
        card moderates its interrupts. Not where little comes: then nothing waits."""
        cdef uint64_t now_us = monotonic_us()
        cdef bint quick = now_us - self.since_us < rest_us
        self.since_us = now_us
        if quick and self.timer is None and self.socket.is_reading():
            self.socket.pause_reading()
            self.timer = self.call_later(rest_us / 1e6, self.resume)
        return 0

    def resume(self):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
            self.since_us = monotonic_us()
            self.socket.resume_reading()
