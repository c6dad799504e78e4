from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.base.clock cimport monotonic_us
from mdstream._core.fanout.topic cimport Topic

from mdstream.codes import CloseCode

cdef enum:
    RELIEF_BYTES = 65536        # linked to one sink: then it is written to before more is made for it

cdef int TOO_SLOW = CloseCode.TOO_SLOW


cdef class SlowSinks:
    def __init__(self, Outbox out, uint64_t limit_us, uint64_t slice_us) -> None:
        self.out = out
        self.limit_us = limit_us
        self.slice_us = slice_us
        self.blocked = set()

    cdef int c_mark_filled(self) except -1:
        while self.out.filled:
            self.c_block(self.out.filled.pop())
        return 0

    cdef int c_block(self, Sink sink) except -1:
        cdef uint32_t i
        if sink.closed or sink in self.blocked:
            return 0
        sink.blocked = True
        if not sink.behind_since_us:
            sink.behind_since_us = self.out.now_us
        self.blocked.add(sink)
        for i in range(sink.n_places):
            (<Topic>sink.places[i].topic).c_on_blocked(sink, i)
        return 0

    cdef int c_relieve(self, Sink sink) except -1:
        """If its peer does not read, what follows is only marked, not made."""
        if sink.pending >= RELIEF_BYTES:
            self.out.c_write_one(sink)
            self.c_mark_filled()
        return 0

    cdef int c_unblock(self, Sink sink) except -1:
        if sink.blocked:
            sink.blocked = False
            self.blocked.discard(sink)
            sink.lagging = sink.n_places
        return 0

    cdef int c_catch_up(self, Sink sink) except -1:
        """Goes on where it stopped the last time, so that all subscriptions have their turn."""
        cdef uint64_t until_us = monotonic_us() + self.slice_us
        while sink.lagging and not sink.blocked and not sink.closed:
            sink.lagging -= 1
            if not sink.n_places:
                continue
            if sink.turn >= sink.n_places:
                sink.turn = 0
            (<Topic>sink.places[sink.turn].topic).c_catch_up(self.out, sink, sink.turn)
            sink.turn += 1
            self.c_relieve(sink)
            if monotonic_us() >= until_us:
                break
        if not sink.lagging:
            sink.behind_since_us = self.out.now_us if sink.blocked else 0
        return 0

    cdef int c_end_too_slow(self) except -1:
        cdef Sink sink
        for sink in list(self.blocked):
            if self.out.now_us - sink.behind_since_us > self.limit_us:
                self.out.counters.too_slow += 1
                sink.c_end(TOO_SLOW, "too slow")
        return 0
