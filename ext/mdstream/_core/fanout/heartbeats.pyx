from libc.stdint cimport uint64_t

from mdstream._core.base.buffer cimport buffer_free, buffer_reserve
from mdstream._core.base.check cimport check
from mdstream._core.codec.encode cimport ENCODERS
from mdstream._core.codec.variant cimport PLAIN
from mdstream._core.fanout.outbox cimport Frame
from mdstream._core.fanout.topic cimport IN_STEP, Member, Topic
from mdstream._core.websocket.frame cimport OP_PING

from mdstream.codes import CloseCode

cdef enum:
    MAX_SLOTS = 1024
    SILENT_HEARTBEATS = 3       # without a frame from the peer: it counts as dead
    # A peer that has sent nothing for so many halves of a heartbeat's interval is asked for a sign of life. One that answers at once is
    # asked with every second heartbeat: reading its answers is a fifth of what an idle client costs.
    QUIET_HALVES = 3

cdef int GOING_AWAY = CloseCode.GOING_AWAY


cdef class Heartbeats:
    def __init__(self, interval_us: int, tick_us: int) -> None:
        count = min(interval_us // tick_us, MAX_SLOTS)
        self.interval_us = interval_us
        self.slot_us = interval_us // count
        self.slots = [[] for _ in range(count)]

    def __dealloc__(self) -> None:
        buffer_free(&self.pairs)

    cdef int c_add(self, Sink sink) except -1:
        cdef list slot = self.slots[self.next_slot]
        sink.slot = self.next_slot
        sink.slot_index = len(slot)
        slot.append(sink)
        self.next_slot = (self.next_slot + 1) % len(self.slots)
        self.n_sinks += 1
        return 0

    cdef int c_remove(self, Sink sink) except -1:
        cdef list slot = self.slots[sink.slot]
        cdef Sink moved
        check(slot[sink.slot_index] is sink)
        moved = slot.pop()
        if moved is not sink:
            slot[sink.slot_index] = moved
            moved.slot_index = sink.slot_index
        self.n_sinks -= 1
        return 0

    cdef int c_serve(self, Outbox out) except -1:
        """The sinks whose turn came since the last call, each once, however long ago that was."""
        cdef uint64_t turn = out.now_us // self.slot_us
        cdef uint64_t first = self.turn + 1
        cdef uint64_t count = len(self.slots)
        cdef Sink sink
        if self.turn == 0:
            first = turn
        elif turn >= count and first <= turn - count:
            first = turn - count + 1
        while first <= turn:
            for sink in list(self.slots[first % count]):
                self.c_beat(out, sink)
            first += 1
        self.turn = turn
        return 0

    cdef int c_beat(self, Outbox out, Sink sink) except -1:
        cdef Frame frame
        cdef Py_ssize_t n
        cdef uint64_t silent_us
        if sink.heard_us == 0:
            sink.heard_us = out.now_us
        silent_us = out.now_us - min(sink.heard_us, out.now_us)
        if sink.pings and silent_us > SILENT_HEARTBEATS * self.interval_us:
            return sink.c_end(GOING_AWAY, "no sign of life")
        if sink.blocked:
            return 0
        n = self.c_collect_silent(sink)
        ENCODERS[sink.format].heartbeat(&out.scratch, out.wall_us, <const uint64_t*>self.pairs.data, n)
        out.c_frame(sink.format, &frame)        # plain: each sink has its own
        out.c_deliver(sink, frame)
        out.counters.heartbeats += 1
        if sink.pings and 2 * silent_us > QUIET_HALVES * self.interval_us:
            out.c_frame_of(OP_PING, PLAIN, NULL, 0, &frame)
            out.c_deliver(sink, frame)
        return 0

    cdef Py_ssize_t c_collect_silent(self, Sink sink) except -1:
        """Fills `pairs` with (sub, newest seq sent) of the subscriptions that had no data since the last heartbeat."""
        cdef Py_ssize_t n = 0
        cdef uint32_t i
        cdef Topic topic
        cdef Member* member
        cdef uint64_t* pair
        self.pairs.size = 0
        buffer_reserve(&self.pairs, 2 * sink.n_places * sizeof(uint64_t))
        pair = <uint64_t*>self.pairs.data
        for i in range(sink.n_places):
            topic = <Topic>sink.places[i].topic
            member = topic.c_member(sink, i)
            if member.beat_version == topic.version:
                pair[0] = topic.number
                pair[1] = topic.seq if member.state == IN_STEP and member.resumed_at != topic.seq else 0
                pair += 2
                n += 1
            member.beat_version = topic.version
        return n
