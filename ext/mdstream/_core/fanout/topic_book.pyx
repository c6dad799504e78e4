"""Books. Full ones send what the change log has; cut or grouped ones the difference to the view last sent."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.encode cimport ENCODERS
from mdstream._core.codec.message cimport (
    REASON_EPOCH, REASON_RECOVER, REASON_RELOAD, REASON_SLOW, REASON_SUBSCRIBE, Head
)
from mdstream._core.codec.variant cimport format_of
from mdstream._core.orderbook.checksum cimport levels_crc
from mdstream._core.orderbook.levels cimport levels_diff, levels_free, levels_keep
from mdstream._core.fanout.sink cimport Sink
from mdstream._core.fanout.topic cimport AHEAD, AHEAD_LIMIT_US, BEHIND, EMPTY, NEVER, Members

cdef enum:
    CRC_LEVELS = 10


cdef inline int keep_view(BookTopic topic, Outbox out) except -1:
    """The view becomes what `out` holds as the other one."""
    levels_keep(&topic.view_bids, &out.other_bids)
    return levels_keep(&topic.view_asks, &out.other_asks)


cdef inline int drop_snapshots(BookTopic topic, Outbox out) except -1:
    cdef int variant
    for variant in range(VARIANTS):
        out.c_free_later(topic.snapshots[variant].data)
        topic.snapshots[variant].data = NULL
    return 0


cdef class BookTopic(Topic):
    def __dealloc__(self) -> None:
        cdef int variant
        for variant in range(VARIANTS):
            free(self.snapshots[variant].data)
        levels_free(&self.view_bids)
        levels_free(&self.view_asks)

    @property
    def view_bytes(self) -> int:
        """Memory that the view takes, which it keeps unless it is the whole book."""
        return (self.view_bids.capacity + self.view_asks.capacity) * 2 * sizeof(int64_t)

    @property
    def held_bytes(self) -> int:
        cdef int variant
        cdef Py_ssize_t held = self.view_bytes
        for variant in range(VARIANTS):
            if self.snapshots[variant].data != NULL:
                held += self.snapshots[variant].size
        return held

    cdef int c_start(self, Outbox out) except -1:
        self.full = self.depth == 0 and self.group == 1
        if not self.full:
            self.instrument.book.c_view(
                self.instrument.book.seq, self.depth, self.group, &out.other_bids, &out.other_asks)
            keep_view(self, out)
        return self.c_take(out)

    cdef int c_end(self, Outbox out) except -1:
        levels_free(&self.view_bids)
        levels_free(&self.view_asks)
        return drop_snapshots(self, out)

    cdef int c_take(self, Outbox out) except -1:
        """Takes over the book's number; the view, if the topic keeps one, is the newest already."""
        cdef Book book = self.instrument.book
        drop_snapshots(self, out)
        self.epoch = book.epoch
        self.seq = book.seq
        self.ts_us = book.ts_us
        self.loads = self.topic_group.loads
        if self.group == 1 and (self.full or self.depth >= CRC_LEVELS):
            self.crc = self.c_shared_crc(out)
        else:
            self.crc = levels_crc(&self.view_bids, &self.view_asks)
        return 0

    cdef uint32_t c_shared_crc(self, Outbox out) except? 0:
        """Of the ungrouped book's best ten levels: computed once for all topics that show as many."""
        cdef Book book = self.instrument.book
        cdef bint known = self.topic_group.crc_known and self.topic_group.crc_seq == book.seq
        if known and self.topic_group.crc_epoch == book.epoch and self.topic_group.crc_loads == self.topic_group.loads:
            return self.topic_group.crc
        if self.full:
            book.c_view(book.seq, CRC_LEVELS, 1, &out.other_bids, &out.other_asks)
            self.topic_group.crc = levels_crc(&out.other_bids, &out.other_asks)
        else:
            self.topic_group.crc = levels_crc(&self.view_bids, &self.view_asks)
        self.topic_group.crc_known = True
        self.topic_group.crc_epoch = book.epoch
        self.topic_group.crc_seq = book.seq
        self.topic_group.crc_loads = self.topic_group.loads
        return self.topic_group.crc

    # ---- for all

    cdef int c_emit(self, Outbox out) except -1:
        cdef Book book = self.instrument.book
        cdef uint64_t since = self.seq
        cdef int variant
        cdef Frame frame
        if book.epoch != self.epoch:
            return self.c_replace(out, REASON_EPOCH)
        if self.loads != self.topic_group.loads:
            return self.c_replace(out, REASON_RELOAD)
        if book.seq == self.seq:
            return 0
        if not self.c_shows():
            return self.c_replace(out, REASON_EPOCH)
        if not self.c_changes(out):
            return self.c_replace(out, REASON_RELOAD)
        if not self.full and out.bids.count + out.asks.count == 0 and not self.c_awaited():
            return 0            # a full book's number moves with every update, though they may cancel out
        self.c_take(out)
        for variant in range(VARIANTS):
            if self.members[variant].in_step:
                self.c_delta(out, variant, since, &frame)
                self.c_send_all(out, variant, frame)
                out.counters.deltas += self.members[variant].in_step
        self.c_count_message(out)
        return self.c_serve_ahead(out, 0)

    cdef int c_changes(self, Outbox out) except -1:
        """What leads from the topic's number to the book's, in `out`; 0 if the log does not reach. The kept view becomes the new one."""
        cdef Book book = self.instrument.book
        if self.full:
            return book.c_changes(self.seq, book.seq, &out.bids, &out.asks)
        book.c_view(book.seq, self.depth, self.group, &out.other_bids, &out.other_asks)
        levels_diff(&self.view_bids, &out.other_bids, True, &out.bids)
        levels_diff(&self.view_asks, &out.other_asks, False, &out.asks)
        keep_view(self, out)
        return 1

    cdef bint c_awaited(self) noexcept:
        """Whether a member that resumed ahead waits for a number that the book has: then even an empty delta is due."""
        cdef int variant
        cdef uint32_t i
        if self.n_ahead:
            for variant in range(VARIANTS):
                for i in range(self.members[variant].in_step, self.members[variant].count):
                    if (self.members[variant].items[i].state == AHEAD
                            and self.members[variant].items[i].seq <= self.instrument.book.seq):
                        return True
        return False

    cdef int c_replace(self, Outbox out, Reason reason) except -1:
        """A snapshot for all, where no delta can lead there. While the book has nothing to show, all are left without one."""
        cdef int variant
        cdef uint32_t i
        cdef Members* members
        cdef Frame frame
        self.c_start(out)
        if not self.c_shows():
            return self.c_restart(out, reason)
        for variant in range(VARIANTS):
            members = &self.members[variant]
            if members.in_step:
                self.c_snapshot(out, variant, reason, &frame)
                self.c_send_all(out, variant, frame)
                out.counters.snapshots += members.in_step
            for i in range(members.in_step):
                members.items[i].resumed_at = NEVER
        self.c_count_message(out)
        return self.c_restart(out, reason)

    cdef int c_restart(self, Outbox out, Reason reason) except -1:
        """Members that are not in step need a snapshot now, wherever they stood; those that can take it get it at once."""
        cdef int variant
        cdef uint32_t i
        cdef Members* members
        for variant in range(VARIANTS):
            members = &self.members[variant]
            while members.in_step and not self.c_shows():
                self.c_fall_behind(&members.items[0], reason)
            for i in range(members.in_step, members.count):
                if members.items[i].state != EMPTY:
                    self.c_set_state(&members.items[i], EMPTY)
                    members.items[i].reason = reason
        return self.c_serve_waiting(out)

    # ---- for one

    cdef bint c_shows(self) noexcept:
        return self.seq > 0         # a book at 0 is not known yet

    cdef int c_emit_first(self, Outbox out) except -1:
        cdef Book book = self.instrument.book
        if book.epoch != self.epoch or self.loads != self.topic_group.loads:
            return self.c_emit(out)
        if book.seq != self.seq and (self.interval_ms == 0 or self.full and not book.c_keeps(self.seq)):
            return self.c_emit(out)
        return 0

    cdef bint c_admit(self, Outbox out, Member* member, bint resume, uint64_t epoch, uint64_t seq) except -1:
        if not resume or epoch != self.epoch or seq == 0:
            return False
        if seq > self.seq:
            self.c_set_state(member, AHEAD)
            member.deadline_us = out.now_us + AHEAD_LIMIT_US
            member.apart = seq > self.instrument.book.seq      # not: ahead of its interval alone
        elif seq == self.seq or self.instrument.book.c_keeps(seq):
            self.c_set_state(member, BEHIND)
        else:
            return False
        member.seq = seq
        member.resumed_at = 0
        return True

    cdef int c_stop_waiting(self, Outbox out, Member* member) except -1:
        if member.seq > self.instrument.awaited:
            return self.c_bring_into_step(out, self.c_set_state(member, EMPTY))
        return 0

    cdef int c_rewind(self, Member* member, uint64_t from_seq) except -1:
        member.reason = REASON_RECOVER
        if from_seq == 0 or from_seq > self.seq:
            self.c_set_state(member, EMPTY)
        else:
            member.seq = from_seq - 1
        return 0

    cdef int64_t c_recover_work(self, int variant, uint64_t from_seq) except -1:
        cdef const Snapshot* kept = &self.snapshots[variant]
        cdef bint is_ready = kept.data != NULL and kept.reason == REASON_RECOVER
        cdef int64_t whole = len(self.instrument.book)
        cdef int64_t snapshot = 1 if is_ready and self.seq == self.instrument.book.seq else 1 + whole
        cdef int64_t logged = -1
        if 0 < from_seq <= self.seq:
            logged = self.instrument.book.c_logged_since(from_seq - 1)
        if logged < 0:
            return snapshot
        return logged + (1 if self.full else whole) + (snapshot if 2 * logged > whole else 0)

    cdef int c_send_missing(self, Outbox out, Member* member) except -1:
        if member.state == EMPTY:
            return self.c_send_shorter(out, member, True)
        if member.seq == self.seq and member.reason != REASON_RECOVER:
            if member.resumed_at != NEVER:
                member.resumed_at = self.seq
            return 0
        return self.c_send_shorter(out, member, not self.c_between(out, member.seq))

    cdef bint c_between(self, Outbox out, uint64_t since) except -1:
        """What leads from `since` to where the topic stands, in `out`; False if the log does not reach."""
        cdef Book book = self.instrument.book
        if self.full:
            return book.c_changes(since, self.seq, &out.bids, &out.asks)
        if not book.c_view(since, self.depth, self.group, &out.other_bids, &out.other_asks):
            return False
        levels_diff(&out.other_bids, &self.view_bids, True, &out.bids)
        levels_diff(&out.other_asks, &self.view_asks, False, &out.asks)
        return True

    cdef int c_send_shorter(self, Outbox out, Member* member, bint snapshot) except -1:
        """A snapshot, or what `c_between` left in `out`, whichever is shorter. After a resume always the delta: `subscribed` promised it."""
        cdef Sink sink = <Sink>member.sink
        cdef Frame frame
        cdef Frame other
        if not snapshot:
            self.c_delta(out, sink.variant, member.seq, &frame)
            if member.reason != REASON_SUBSCRIBE and 2 * (out.bids.count + out.asks.count) > self.c_levels():
                self.c_snapshot(out, sink.variant, <Reason>member.reason, &other)
                snapshot = other.size < frame.size
        if snapshot:
            self.c_snapshot(out, sink.variant, <Reason>member.reason, &frame)
        self.c_count(out, member, snapshot)
        member.resumed_at = NEVER
        member.beat_version = self.version - 1
        return out.c_deliver(sink, frame)

    cdef Py_ssize_t c_levels(self) except -1:
        if self.full:
            return len(self.instrument.book)
        return self.view_bids.count + self.view_asks.count

    cdef void c_count(self, Outbox out, Member* member, bint snapshot) noexcept:
        if snapshot:
            out.counters.snapshots += 1
            out.counters.recover_snapshot += member.reason == REASON_RECOVER
        else:
            out.counters.deltas += 1
            out.counters.recover_delta += member.reason == REASON_RECOVER
        if member.reason == REASON_SLOW and member.state == BEHIND:
            out.counters.conflated += self.seq - member.seq

    # ---- frames

    cdef int c_delta(self, Outbox out, int variant, uint64_t since, Frame* frame) except -1:
        cdef Head head = Head(self.number, self.epoch, since + 1, self.seq, self.ts_us, self.instrument.scale)
        ENCODERS[format_of(variant)].delta(&out.scratch, &head, &out.bids, &out.asks, self.crc)
        return out.c_frame(variant, frame)

    cdef int c_snapshot(self, Outbox out, int variant, Reason reason, Frame* frame) except -1:
        cdef Head head = Head(self.number, self.epoch, self.seq, self.seq, self.ts_us, self.instrument.scale)
        cdef Snapshot* kept = &self.snapshots[variant]
        cdef const Levels* bids = &self.view_bids
        cdef const Levels* asks = &self.view_asks
        if kept.data == NULL or kept.reason != reason:
            if self.full:
                if not self.instrument.book.c_view(self.seq, 0, 1, &out.other_bids, &out.other_asks):
                    raise RuntimeError(f"{self!r}: the log of {self.instrument.name} does not reach the topic's number")
                bids = &out.other_bids
                asks = &out.other_asks
            ENCODERS[format_of(variant)].snapshot(&out.scratch, &head, bids, asks, self.crc, reason)
            out.c_free_later(kept.data)
            kept.data = NULL
            out.c_frame_apart(variant, frame)
            kept.data, kept.size, kept.reason = <char*>frame.data, frame.size, reason
        frame.data = kept.data
        frame.size = kept.size
        return 0
