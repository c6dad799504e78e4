"""Topics whose messages are composed outside the core, of many instruments: their owner numbers them and says when they are sent.

Who is in step, behind or blocked is known here, as for every topic. What leads from one number to another is asked of the ``source``:
``missing(format, since)`` returns messages, each a whole one (``since`` None: everything), and ``reaches(since)`` says whether it can.
A source may have ``holds(sink, since)``: whether it brings this member up to date by itself, because it lacks more. It is then sent nothing
until it is subscribed again.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from mdstream._core.codec.message cimport REASON_RECOVER, REASON_SLOW
from mdstream._core.codec.variant cimport VARIANTS, format_of
from mdstream._core.fanout.outbox cimport Frame
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport BEHIND, EMPTY, NEVER, Member

cdef enum:
    FORMATS = 2


cdef class ComposedTopic(Topic):
    """A topic of ``Hub.compose``."""

    cdef int c_start(self, Outbox out) except -1:
        return 0

    cdef int c_emit(self, Outbox out) except -1:
        return 0                    # only its owner sends, by `publish`

    cdef int c_emit_first(self, Outbox out) except -1:
        return 0

    cdef int c_publish(self, Outbox out, uint64_t seq, uint64_t ts_us) except -1:
        cdef uint64_t since = self.seq
        cdef int variant
        cdef Frame frame
        cdef list made = [None] * FORMATS
        cdef bytes message
        self.seq = seq
        self.ts_us = ts_us
        for variant in range(VARIANTS):
            if not self.members[variant].in_step:
                continue
            if made[format_of(variant)] is None:
                made[format_of(variant)] = self.source.missing(format_of(variant), since)
            for message in made[format_of(variant)]:
                out.c_message(variant, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &frame)
                self.c_send_all(out, variant, frame)
        return self.c_count_message(out)

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        if not resume or epoch != self.epoch or seq > self.seq or not self.source.reaches(seq):
            return False            # it stays EMPTY
        self.c_set_state(member, BEHIND)
        member.seq = seq
        member.resumed_at = 0
        return True

    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1:
        member.reason = REASON_RECOVER
        if from_seq == 0 or from_seq > self.seq or not self.source.reaches(from_seq - 1):
            self.c_set_state(member, EMPTY)
        else:
            member.seq = from_seq - 1
        return 0

    cdef int c_bring_into_step(self, Outbox out, Member* member) except -1:
        if member.state == BEHIND:
            holds = getattr(self.source, "holds", None)
            if holds is not None and holds(<Sink>member.sink, member.seq):
                member.held = True
                return 0
        return Topic.c_bring_into_step(self, out, member)

    cdef int c_send_missing(self, Outbox out, Member* member) except -1:
        cdef Sink sink = <Sink>member.sink
        cdef bint whole = member.state == EMPTY
        cdef Frame frame
        cdef bytes message
        if not whole and member.seq == self.seq:
            if member.resumed_at != NEVER:
                member.resumed_at = self.seq
            return 0
        if member.reason == REASON_SLOW and not whole:
            out.counters.conflated += self.seq - member.seq
        for message in self.source.missing(sink.format, None if whole else member.seq):
            out.c_message(sink.variant, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &frame)
            out.c_deliver(sink, frame)
        if member.reason == REASON_RECOVER:
            out.counters.recover_snapshot += whole
            out.counters.recover_delta += not whole
        out.counters.snapshots += whole
        member.resumed_at = NEVER
        member.beat_version = self.version - 1
        return 0
