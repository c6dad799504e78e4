"""Tickers: best bid and ask and the last trade; the newest wins, so a member that is behind lacks one message at most.

Members that are ahead have seen a number of the book elsewhere. The ticker's own number may be smaller even where the book has that
number: it moves only with what the ticker shows, and at the end of its interval.
"""

from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.encode cimport ENCODERS
from mdstream._core.codec.message cimport REASON_RECOVER, Head
from mdstream._core.codec.variant cimport VARIANTS, format_of
from mdstream._core.orderbook.levels cimport Levels, levels_reserve
from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport AHEAD, AHEAD_LIMIT_US, BEHIND, EMPTY, NEVER, Member, Members
from mdstream._core.orderbook.trade_log cimport Trade


cdef inline Quote best_of(const Levels* side) noexcept nogil:
    cdef Quote quote
    quote.ticks = side.values[0] if side.count else 0
    quote.lots = side.values[1] if side.count else 0
    return quote


cdef inline bint differ(Quote a, Quote b) noexcept nogil:
    return a.ticks != b.ticks or a.lots != b.lots


cdef inline Quotes quotes_of(Instrument instrument, Outbox out) except *:
    """What an instrument has now."""
    cdef Quotes quotes
    levels_reserve(&out.other_bids, 1)
    levels_reserve(&out.other_asks, 1)
    instrument.book.c_top(&out.other_bids, &out.other_asks)
    quotes.bid = best_of(&out.other_bids)
    quotes.ask = best_of(&out.other_asks)
    quotes.last = instrument.last_trade
    return quotes


cdef inline uint64_t time_of(Instrument instrument) except? 0:
    """When the newest of it happened."""
    cdef const Trade* trade = instrument.trades.c_get(instrument.trades.seq)
    return instrument.book.ts_us if trade == NULL else max(instrument.book.ts_us, trade.ts_us)


cdef class TickerTopic(Topic):
    cdef uint64_t c_position(self) noexcept:
        return self.version         # seq stays when only the last trade changed

    cdef int c_start(self, Outbox out) except -1:
        self.c_take(out)
        return 0

    cdef bint c_take(self, Outbox out) except -1:
        """Takes over what the instrument has now. True if the ticker changed."""
        cdef Book book = self.instrument.book
        cdef Quotes quotes = quotes_of(self.instrument, out)
        cdef bint changed = (
            differ(quotes.bid, self.quotes.bid) or differ(quotes.ask, self.quotes.ask) or differ(quotes.last, self.quotes.last))
        if not changed and book.epoch == self.epoch and (self.seq or not book.seq):
            return False
        if book.epoch != self.epoch:
            self.c_forget_resumes()
        self.quotes = quotes
        self.epoch = book.epoch
        self.seq = book.seq
        self.ts_us = time_of(self.instrument)
        return True

    cdef int c_forget_resumes(self) except -1:
        """Numbers of an epoch that is over count for nothing."""
        cdef Members* members
        cdef int variant
        cdef uint32_t i
        for variant in range(VARIANTS):
            members = &self.members[variant]
            for i in range(members.in_step, members.count):
                if members.items[i].state == AHEAD:
                    self.c_set_state(&members.items[i], EMPTY)
        return 0

    cdef int c_emit(self, Outbox out) except -1:
        cdef bint shown = self.c_shows()
        cdef uint64_t epoch = self.epoch
        cdef int variant
        cdef Frame frame
        if not self.c_take(out) or not self.c_shows():
            return 0
        for variant in range(VARIANTS):
            if self.members[variant].in_step:
                self.c_ticker(out, variant, &frame)
                self.c_send_all(out, variant, frame)
        self.c_count_message(out)
        return self.c_serve_ahead(out, 0) if shown and self.epoch == epoch else self.c_serve_waiting(out)

    cdef bint c_shows(self) noexcept:
        return self.seq > 0         # as its book

    cdef int c_emit_first(self, Outbox out) except -1:
        if self.interval_ms == 0 or not self.c_shows() or self.epoch != self.instrument.book.epoch:
            return self.c_emit(out)
        return 0

    cdef bint c_has_reached(self, const Member* member) noexcept:
        return member.seq <= self.instrument.book.seq

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        """Never resumed: it is sent the newest in any case. One that has seen a greater number is AHEAD, the others stay EMPTY."""
        if resume and epoch == self.epoch and seq > self.seq:
            self.c_set_state(member, AHEAD)
            member.seq = seq
            member.deadline_us = out.now_us + AHEAD_LIMIT_US
            member.apart = not self.c_has_reached(member)
        return False

    cdef int c_stop_waiting(self, Outbox out, Member* member) except -1:
        if member.seq > self.instrument.awaited:
            return self.c_bring_into_step(out, self.c_set_state(member, EMPTY))
        return 0

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
        if member.state != BEHIND and member.seq > self.seq:
            self.c_newest(out, sink.variant, &frame)
        else:
            self.c_ticker(out, sink.variant, &frame)
        out.counters.recover_snapshot += member.reason == REASON_RECOVER
        member.resumed_at = NEVER
        member.beat_version = self.version - 1
        return out.c_deliver(sink, frame)

    cdef int c_ticker(self, Outbox out, int variant, Frame* frame) except -1:
        cdef Head head = Head(self.number, self.epoch, self.seq, self.seq, self.ts_us, self.instrument.scale)
        return self.c_encode(out, variant, &head, &self.quotes, frame)

    cdef int c_newest(self, Outbox out, int variant, Frame* frame) except -1:
        """As the instrument is now, which may be newer than what was sent to all."""
        cdef Book book = self.instrument.book
        cdef Quotes quotes = quotes_of(self.instrument, out)
        cdef Head head = Head(
            self.number, book.epoch, book.seq, book.seq, time_of(self.instrument), self.instrument.scale)
        return self.c_encode(out, variant, &head, &quotes, frame)

    cdef int c_encode(self, Outbox out, int variant, const Head* head, const Quotes* quotes, Frame* frame) except -1:
        ENCODERS[format_of(variant)].ticker(&out.scratch, head, quotes.bid, quotes.ask, quotes.last)
        return out.c_frame(variant, frame)
