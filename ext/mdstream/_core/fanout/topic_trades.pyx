"""Trades: in order, never merged, from the instrument's ring; trades that left the ring are announced as `lost`."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.codec.encode cimport ENCODERS
from mdstream._core.codec.message cimport FORMAT_JSON, REASON_RECOVER, Head
from mdstream._core.codec.variant cimport VARIANTS, format_of
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport AHEAD, AHEAD_LIMIT_US, BEHIND, NEVER, Member, Members
from mdstream._core.orderbook.trade_log cimport Trade, TradeLog


def lost_message(format: int, sub: int, first: int, last: int) -> bytes:
    """The control message `lost`, of trades `first` to `last`."""
    if format == FORMAT_JSON:
        return b'{"type":"lost","sub":%d,"first":%d,"last":%d}' % (sub, first, last)
    return b"\x84\xa4type\xa4lost\xa3sub%b\xa5first%b\xa4last%b" % (packed(sub), packed(first), packed(last))


def no_trades_message(format: int, sub: int, epoch: int, seq: int) -> bytes:
    """The message `trades` that holds none: nothing follows `seq`."""
    if format == FORMAT_JSON:
        return b'{"type":"trades","sub":%d,"epoch":%d,"first":%d,"last":%d,"trades":[]}' % (sub, epoch, seq + 1, seq)
    return b"\x96\x03%b%b%b%b\x90" % (packed(sub), packed(epoch), packed(seq + 1), packed(seq))


def packed(number: int) -> bytes:
    """An unsigned integer in its smallest MessagePack form."""
    if number < 0x80:
        return number.to_bytes(1)
    for size, mark in ((1, 0xCC), (2, 0xCD), (4, 0xCE)):
        if number < 1 << 8 * size:
            return bytes((mark,)) + number.to_bytes(size)
    return b"\xcf" + number.to_bytes(8)


cdef class TradesTopic(Topic):
    cdef int c_start(self, Outbox out) except -1:
        self.epoch = self.instrument.trades.epoch
        self.seq = self.instrument.trades.seq
        return 0

    # ---- for all

    cdef int c_emit(self, Outbox out) except -1:
        cdef TradeLog log = self.instrument.trades
        cdef uint64_t first
        cdef uint64_t oldest = log.c_oldest()
        cdef int variant
        if log.epoch != self.epoch:
            self.c_restart(out)
        if log.seq == self.seq:
            return 0
        first = self.seq + 1
        self.seq = log.seq
        for variant in range(VARIANTS):
            if self.members[variant].in_step:
                self.c_emit_variant(out, variant, first, oldest)
        self.c_count_message(out)
        return self.c_serve_ahead(out, 0)

    cdef int c_emit_variant(self, Outbox out, int variant, uint64_t first, uint64_t oldest) except -1:
        cdef Frame frame
        cdef const Trade* newest = self.instrument.trades.c_get(self.seq)
        if oldest > first:
            self.c_lost(out, variant, first, oldest - 1, &frame)
            self.c_send_all(out, variant, frame)
            first = oldest
        if first <= self.seq:
            self.ts_us = newest.ts_us
            self.c_trades(out, variant, first, &frame)
            self.c_send_all(out, variant, frame)
        return 0

    cdef int c_restart(self, Outbox out) except -1:
        """A new epoch: numbers start again at 1. Trades of the old one that members behind still lack can no longer be asked for:
        they get `lost`. Held members have seen nothing, so they lose nothing: they begin with the oldest trade there is."""
        cdef int variant
        cdef uint32_t i
        cdef Members* members
        for variant in range(VARIANTS):
            members = &self.members[variant]
            for i in range(members.count):
                if i >= members.in_step:
                    self.c_restart_member(out, variant, &members.items[i])
                if members.items[i].resumed_at != NEVER:
                    members.items[i].resumed_at = 0
        self.epoch = self.instrument.trades.epoch
        self.seq = 0
        return 0

    cdef int c_restart_member(self, Outbox out, int variant, Member* member) except -1:
        cdef Frame frame
        if member.state == BEHIND and member.seq < self.seq and not member.held:
            self.c_lost(out, variant, member.seq + 1, self.seq, &frame)
            out.c_deliver(<Sink>member.sink, frame)
        member.seq = self.instrument.trades.c_oldest() - 1 if member.held else 0
        return self.c_arrive(out, self.c_set_state(member, BEHIND))

    # ---- for one

    cdef int c_emit_first(self, Outbox out) except -1:
        if self.interval_ms == 0 or self.instrument.trades.epoch != self.epoch:
            return self.c_emit(out)
        return 0

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        cdef bint resumed = resume and epoch == self.epoch
        member.resumed_at = 0
        member.deadline_us = out.now_us + AHEAD_LIMIT_US
        member.seq = seq if resumed else self.seq
        member.apart = member.seq > self.seq
        self.c_set_state(member, AHEAD if member.apart else BEHIND)
        return resumed

    cdef int c_stop_waiting(self, Outbox out, Member* member) except -1:
        """It stays ahead, as there is no snapshot to fall back to: what comes after its number is sent when it comes."""
        member.deadline_us = NEVER
        return self.c_arrive(out, member)

    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1:
        member.reason = REASON_RECOVER
        if from_seq == 0:
            from_seq = self.instrument.trades.c_oldest()
        member.seq = from_seq - 1 if from_seq <= self.seq else self.seq
        return 0

    cdef int64_t c_recover_work(self, int variant, uint64_t from_seq) except -1:
        cdef TradeLog log = self.instrument.trades
        cdef uint64_t first = max(from_seq, log.c_oldest())
        return 1 + (<int64_t>(log.seq + 1 - first) if first <= log.seq else 0)

    cdef int c_send_missing(self, Outbox out, Member* member) except -1:
        cdef Sink sink = <Sink>member.sink
        cdef bint asked = member.reason == REASON_RECOVER
        cdef uint64_t first = member.seq + 1
        cdef uint64_t oldest = self.instrument.trades.c_oldest()
        cdef Frame frame
        if member.seq == self.seq and not asked:
            if member.resumed_at != NEVER:
                member.resumed_at = self.seq
            return 0
        if oldest > first and member.seq < self.seq:
            oldest = oldest if oldest <= self.seq else self.seq + 1
            self.c_lost(out, sink.variant, first, oldest - 1, &frame)
            out.c_deliver(sink, frame)
            out.counters.recover_lost += asked
            first = oldest
        if first <= self.seq:
            self.c_trades(out, sink.variant, first, &frame)
            out.c_deliver(sink, frame)
            out.counters.recover_trades += asked
        elif member.seq == self.seq:
            self.c_control(out, sink.variant, no_trades_message(sink.format, self.number, self.epoch, self.seq), &frame)
            out.c_deliver(sink, frame)
            out.counters.recover_trades += 1
        member.resumed_at = NEVER
        member.beat_version = self.version - 1
        return 0

    # ---- frames

    cdef int c_trades(self, Outbox out, int variant, uint64_t first, Frame* frame) except -1:
        cdef TradeLog log = self.instrument.trades
        cdef Head head = Head(self.number, log.epoch, first, self.seq, 0, self.instrument.scale)
        ENCODERS[format_of(variant)].trades(&out.scratch, &head, log)
        return out.c_frame(variant, frame)

    cdef int c_lost(self, Outbox out, int variant, uint64_t first, uint64_t last, Frame* frame) except -1:
        return self.c_control(out, variant, lost_message(format_of(variant), self.number, first, last), frame)

    cdef int c_control(self, Outbox out, int variant, bytes message, Frame* frame) except -1:
        return out.c_message(variant, message, len(message), frame)
