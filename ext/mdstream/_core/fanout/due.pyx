from collections import deque

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.orderbook.view cimport levels_summed

cdef enum:
    # What grouped views may cost: about a quarter of a core, and a millisecond at a time.
    WORK_PER_US = 30            # levels summed
    WORK_MOST = 100000
    WORK_OF_TURN = 20           # counted for each message besides its levels


cdef class DueTopics:
    """The topics of a hub that have something to send later, and what makes them send it. Times are those of the outbox."""

    def __init__(self, Outbox out) -> None:
        self.out = out
        self.stretch = 1
        self.slack_us = TICK_US // 2
        self.waiting = []
        self.costly = deque()
        self.work_left = WORK_MOST
        self.ahead = []

    cdef bint c_waits(self) except -1:
        return bool(self.waiting) or bool(self.costly) or bool(self.ahead)

    cdef int c_emit(self, Topic topic, uint64_t slack_us, bint its_turn) except -1:
        cdef uint64_t interval_us = <uint64_t>topic.interval_ms * 1000 * (self.stretch if topic.may_stretch else 1)
        cdef uint32_t version = topic.version
        if self.out.now_us + slack_us < topic.next_us:
            if not topic.waiting:
                topic.waiting = True
                self.waiting.append(topic)
            return 0
        if topic.costly and not its_turn:
            if not topic.queued:
                topic.queued = True
                self.costly.append(topic)
            return 0
        topic.c_emit(self.out)
        if topic.version == version:
            return 0
        if not interval_us:
            self.undelayed += 1
        else:
            topic.next_us += interval_us        # on its own grid, so that the pace of tick() does not add up
            if topic.next_us <= self.out.now_us + slack_us:
                topic.next_us = self.out.now_us + interval_us
        return 0

    # ---- in turn

    cdef int c_refill_work(self) except -1:
        if self.out.now_us > self.work_us:
            self.work_left = min(
                <int64_t>WORK_MOST, self.work_left + <int64_t>(self.out.now_us - self.work_us) * WORK_PER_US)
            self.work_us = self.out.now_us
        return 0

    cdef int c_serve_costly(self) except -1:
        """What is left when the work is spent waits, and then sends all its changes at once."""
        cdef Topic topic
        cdef uint64_t before
        self.c_refill_work()
        while self.work_left > 0 and self.costly:
            topic = self.costly.popleft()
            topic.queued = False
            before = levels_summed()
            self.c_emit(topic, self.slack_us, True)
            self.work_left -= <int64_t>(levels_summed() - before) + WORK_OF_TURN
        return 0

    # ---- with time

    cdef int c_tick(self) except -1:
        self.c_end_intervals()
        self.c_serve_ahead()
        return self.c_serve_costly()

    cdef int c_end_intervals(self) except -1:
        cdef Topic topic
        waiting, self.waiting = self.waiting, []
        for topic in waiting:
            topic.waiting = topic.topic_group.deferred = False
            self.c_emit(topic, self.slack_us, False)
        return 0

    cdef int c_serve_ahead(self) except -1:
        """Members that resumed ahead of their topic: it may have reached them, or their time is up."""
        cdef Topic topic
        ahead, self.ahead = self.ahead, []
        for topic in ahead:
            self.c_emit(topic, self.slack_us, False)
            topic.c_serve_ahead(self.out, self.out.now_us)
            if topic.n_ahead:
                self.ahead.append(topic)
        return 0

    cdef int c_add_ahead(self, Topic topic) except -1:
        if topic not in self.ahead:
            self.ahead.append(topic)
        return 0

    cdef int c_forget(self, Topic topic) except -1:
        if topic.waiting:
            self.waiting.remove(topic)
            topic.waiting = False
        if topic.queued:
            self.costly.remove(topic)
            topic.queued = False
        if topic in self.ahead:
            self.ahead.remove(topic)
        return 0
