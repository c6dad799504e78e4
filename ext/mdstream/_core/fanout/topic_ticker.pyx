"""Tickers: best bid and ask and the last trade; the newest wins, so a member that is behind lacks one message at most."""

from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.encode cimport ENCODERS
from mdstream._core.codec.message cimport REASON_RECOVER, Head
from mdstream._core.codec.variant cimport VARIANTS, format_of
from mdstream._core.orderbook.levels cimport Levels, levels_reserve
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport BEHIND, EMPTY, NEVER, Member
from mdstream._core.orderbook.trade_log cimport Trade


cdef inline Quote best_of(const Levels* side) noexcept nogil:
    cdef Quote quote
    quote.ticks = side.values[0] if side.count else 0
    quote.lots = side.values[1] if side.count else 0
    return quote


cdef inline bint differ(Quote a, Quote b) noexcept nogil:
    return a.ticks != b.ticks or a.lots != b.lots


cdef class TickerTopic(Topic):
    cdef uint64_t c_position(self) noexcept:
        return self.version         # seq stays when only the last trade changed

    cdef int c_start(self, Outbox out) except -1:
        self.c_take(out)
        return 0

    cdef bint c_take(self, Outbox out) except -1:
        """Takes over what the instrument has now. True if the ticker changed."""
        cdef Book book = self.instrument.book
        cdef const Trade* trade = self.instrument.trades.c_get(self.instrument.trades.seq)
        cdef Quote bid
        cdef Quote ask
        cdef Quote last = self.instrument.last_trade
        cdef bint changed
        levels_reserve(&out.other_bids, 1)
        levels_reserve(&out.other_asks, 1)
        book.c_top(&out.other_bids, &out.other_asks)
        bid = best_of(&out.other_bids)
        ask = best_of(&out.other_asks)
        changed = differ(bid, self.bid) or differ(ask, self.ask) or differ(last, self.last)
        if not changed and book.epoch == self.epoch and (self.seq or not book.seq):
            return False
        self.bid = bid
        self.ask = ask
        self.last = last
        self.epoch = book.epoch
        self.seq = book.seq
        self.ts_us = book.ts_us
        if trade != NULL and trade.ts_us > self.ts_us:
            self.ts_us = trade.ts_us
        return True

    cdef int c_emit(self, Outbox out) except -1:
        cdef bint shown = self.c_shows()
        cdef int variant
        cdef Frame frame
        if not self.c_take(out) or not self.c_shows():
            return 0
        for variant in range(VARIANTS):
            if self.members[variant].in_step:
                self.c_ticker(out, variant, &frame)
                self.c_send_all(out, variant, frame)
        self.c_count_message(out)
        return 0 if shown else self.c_serve_waiting(out)

    cdef bint c_shows(self) noexcept:
        return self.seq > 0         # as its book

    cdef int c_emit_first(self, Outbox out) except -1:
        return self.c_emit(out) if self.interval_ms == 0 or not self.c_shows() else 0

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        return False                # it stays EMPTY

    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1:
        member.reason = REASON_RECOVER
        self.c_set_state(member, EMPTY)
        return 0

    cdef int c_send_missing(self, Outbox out, Member* member) except -1:
        cdef Sink sink = <Sink>member.sink
        cdef Frame frame
        if member.state == BEHIND and member.seq == self.version:
            return 0
        if member.state == BEHIND:
            out.counters.conflated += <uint32_t>(self.version - member.seq)
        self.c_ticker(out, sink.variant, &frame)
        out.counters.recover_snapshot += member.reason == REASON_RECOVER
        member.resumed_at = NEVER
        member.beat_version = self.version - 1
        return out.c_deliver(sink, frame)

    cdef int c_ticker(self, Outbox out, int variant, Frame* frame) except -1:
        cdef Head head = Head(self.number, self.epoch, self.seq, self.seq, self.ts_us, self.instrument.scale)
        ENCODERS[format_of(variant)].ticker(&out.scratch, &head, self.bid, self.ask, self.last)
        return out.c_frame(variant, frame)
