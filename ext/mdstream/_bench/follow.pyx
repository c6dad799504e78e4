from cpython.object cimport PyObject
from libc.stdint cimport uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from mdstream._bench.ladder cimport Ladder, ladder_apply, ladder_crc, ladder_crossed, ladder_load
from mdstream._bench.message cimport (
    BOOK_BODY, DELTA_HEAD, HAS_LAST, HAS_FIRST, HAS_ROWS, HAS_SUB, KIND_DELTA, KIND_DRAIN, KIND_ERROR, KIND_HEARTBEAT, KIND_LOST,
    KIND_NONE, KIND_SNAPSHOT, KIND_STATE, KIND_SUBSCRIBED, KIND_TICKER, KIND_TRADES, KIND_WELCOME, SNAPSHOT_HEAD, TRADES_HEAD, Slice, slice_is,
)
from mdstream._bench.orders cimport FORMAT_JSON, put_recover, put_subscribe
from mdstream._bench.read_json cimport Text, json_levels, json_message, json_number, json_trades
from mdstream._bench.read_msgpack cimport (
    msgpack_levels, msgpack_list, msgpack_next, msgpack_number, msgpack_trades, slice_cursor,
)
from mdstream._bench.tracked cimport (
    SUB_ASKED, SUB_HELD, SUB_LIVE, SUB_RELOADING, SUB_WAITING, drop_book, enter_sub, find_sub, go_live,
)
from mdstream._core.base.buffer cimport buffer_free
from mdstream._core.codec.msgpack_reader cimport Cursor
from mdstream._core.orderbook.levels cimport levels_free

import json

cdef enum:
    COMMAND_MAX = 100           # instruments of one subscribe command
    NAME_MAX = 200              # bytes of an instrument's name

FAULT_NAMES = (
    "gap", "repeat", "overlap", "early", "unknown_sub", "unasked", "backwards", "malformed", "no_welcome", "lost_tail", "beyond", "crc",
    "crossed", "order", "depth", "decimals",
)
ctypedef const char* Words
cdef Words[FAULTS] FAULT_WORDS = [
    b"a gap (first..last)", b"nothing new (first..last)", b"an overlap (first..last)", b"data before the snapshot (first..last)",
    b"data of an unknown subscription (sub, last)", b"subscribed without a request (sub)",
    b"goes back (epoch, seq)", b"a message that the contract does not have (bytes, kind)", b"the first message is not welcome (kind)",
    b"the heartbeat has a later number (sub, seq): the tail was lost", b"a number that was never published (last, expected)",
    b"the wrong crc (theirs, ours)", b"a crossed book (bid, ask)", b"a snapshot that is not best first", b"a view deeper than asked (bids, asks)",
    b"not the decimals of the instrument",
]


cdef class Follower:
    def __cinit__(self, plan):
        self.format = <Format>(1 if plan.format == "json" else 2)
        self.floor = plan.floor
        self.recover = plan.recover and not plan.floor
        self.latency = Histogram()
        self.group_latency = [Histogram() for _ in plan.groups]
        self.drain_ms = -1
        self._keep = []
        self.n_instruments = len(plan.instruments)
        self.n_groups = len(plan.groups)
        self.instruments = <InstrumentState*>calloc(max(self.n_instruments, <Py_ssize_t>1), sizeof(InstrumentState))
        self.groups = <GroupState*>calloc(self.n_groups, sizeof(GroupState))
        self._wanted = <WantedInstrument*>calloc(COMMAND_MAX, sizeof(WantedInstrument))
        if self.instruments == NULL or self.groups == NULL or self._wanted == NULL:
            raise MemoryError("no memory for the plan")
        for i, name in enumerate(plan.instruments):
            self.set_name(&self.instruments[i].name, name)
        for i, group in enumerate(plan.groups):
            self.set_group(&self.groups[i], group)
            self.groups[i].latency = <PyObject*>self.group_latency[i]

    def __dealloc__(self):
        free(self.instruments)
        free(self.groups)
        free(self._wanted)
        buffer_free(&self.out)
        levels_free(&self._levels)

    cdef int set_name(self, Name* target, str name) except -1:
        cdef bytes text = (json.dumps(name, ensure_ascii=False)[1:-1] if self.format == FORMAT_JSON else name).encode()
        if not 0 < len(text) <= NAME_MAX:
            raise ValueError(f"instrument {name!r} has {len(text)} bytes; it must have 1 to {NAME_MAX}")
        self._keep.append(text)
        target.text, target.size = text, len(text)
        return 0

    cdef int set_group(self, GroupState* state, group) except -1:
        cdef Topic* topic = &state.topic
        self.set_name(&topic.channel, group.channel)
        topic.is_book = group.channel == "book"
        topic.depth, topic.group, topic.interval_ms = group.depth, group.group, group.interval_ms
        state.is_trades = group.channel == "trades"
        state.is_slow = group.pause_s > 0
        return 0

    cdef int c_fault(self, int kind, const Tracked* client, const Sub* sub, uint64_t a, uint64_t b) noexcept nogil:
        cdef const Name* name
        self.faults[kind] += 1
        if self.first_fault[0]:
            return 0
        if sub == NULL:
            snprintf(self.first_fault, sizeof(self.first_fault), b"client %u: %s: %lld, %lld", client.client, FAULT_WORDS[kind], <long long>a, <long long>b)
            return 0
        name = &self.instruments[sub.instrument].name
        snprintf(
            self.first_fault, sizeof(self.first_fault), b"client %u, %.*s at %llu: %s: %lld, %lld", client.client, <int>name.size, name.text,
            <unsigned long long>sub.seq, FAULT_WORDS[kind], <long long>a, <long long>b,
        )
        return 0

    # ---- messages

    cdef int c_take(self, Tracked* client, const uint8_t* data, Py_ssize_t size) except -1 nogil:
        cdef Message message
        cdef Cursor cursor
        cdef Slice frame = Slice(data, size)
        cdef int outcome = 1
        if self.format == FORMAT_JSON:
            memset(&message, 0, sizeof(message))
            if json_message(data, size, client.verify, &message) < 0:
                return self.c_fault(FAULT_MALFORMED, client, NULL, <uint64_t>size, <uint64_t>message.kind)
            return self.take(client, &message)
        slice_cursor(&frame, &cursor)
        while outcome > 0:
            memset(&message, 0, sizeof(message))
            outcome = msgpack_next(&cursor, &message)
            if outcome > 0:
                self.take(client, &message)
        if outcome < 0 or size == 0:
            self.c_fault(FAULT_MALFORMED, client, NULL, <uint64_t>size, <uint64_t>message.kind)
        return 0

    cdef int take(self, Tracked* client, const Message* message) except -1 nogil:
        self.counts.messages += 1
        if not client.welcomed and message.kind != KIND_WELCOME and message.kind != KIND_ERROR:
            client.welcomed = True
            self.c_fault(FAULT_NO_WELCOME, client, NULL, <uint64_t>message.kind, 0)
        if message.kind == KIND_DELTA:
            return self.take_delta(client, message)
        if message.kind == KIND_SNAPSHOT:
            return self.take_snapshot(client, message)
        if message.kind == KIND_TRADES:
            return self.take_trades(client, message)
        if message.kind == KIND_TICKER:
            return self.take_ticker(client, message)
        if message.kind == KIND_HEARTBEAT:
            return self.take_heartbeat(client, message)
        return self.take_control(client, message)

    cdef int take_control(self, Tracked* client, const Message* message) except -1 nogil:
        if message.kind == KIND_SUBSCRIBED:
            return self.take_subscribed(client, message)
        if message.kind == KIND_WELCOME:
            client.welcomed = True
            return self.subscribe(client)
        if message.kind == KIND_STATE:
            self.counts.states += 1
        elif message.kind == KIND_LOST:
            return self.take_lost(client, message)
        elif message.kind == KIND_DRAIN:
            self.totals.drains += 1
            self.drain_ms = max(message.reconnect_after_ms, <int64_t>0)
        elif message.kind == KIND_ERROR:
            self.take_error(client, message)
        elif message.kind == KIND_NONE:
            self.c_fault(FAULT_MALFORMED, client, NULL, 0, 0)
        return 0

    cdef void take_error(self, Tracked* client, const Message* message) noexcept nogil:
        self.totals.errors += 1
        client.refused = client.refused or client.live < client.count
        client.unavailable = slice_is(&message.code, b"unavailable", 11) or slice_is(&message.code, b"rate_limited", 12)
        if not self.first_error[0]:
            snprintf(
                self.first_error, sizeof(self.first_error), b"%.*s: %.*s", <int>message.code.size, <const char*>message.code.at,
                <int>min(message.text.size, <Py_ssize_t>200), <const char*>message.text.at,
            )

    cdef int subscribe(self, Tracked* client) except -1 nogil:
        """Sends ``subscribe`` for all subscriptions of the plan, with ``resume`` for those that have data."""
        cdef uint32_t start = 0, i, count
        cdef Sub* sub
        while start < client.count:
            count = min(client.count - start, <uint32_t>COMMAND_MAX)
            for i in range(count):
                sub = &client.subs[start + i]
                self._wanted[i] = WantedInstrument(self.instruments[sub.instrument].name, sub.epoch, sub.seq)
                sub.resuming = sub.epoch != 0
            put_subscribe(&self.out, self.format, start + 1, &self.groups[client.group].topic, self._wanted, count)
            start += count
        return 0

    cdef int take_subscribed(self, Tracked* client, const Message* message) except -1 nogil:
        cdef InstrumentState* kept
        cdef Sub* sub = NULL
        cdef uint32_t i, place
        for i in range(client.count):           # the answers come in order: the first look finds it
            place = (client.answered + i) % client.count
            kept = &self.instruments[client.subs[place].instrument]
            if kept.name.size == message.instrument.size and not memcmp(kept.name.text, message.instrument.at, <size_t>kept.name.size):
                sub = &client.subs[place]
                break
        if sub == NULL or sub.state != SUB_ASKED or not message.has & HAS_SUB:
            return self.c_fault(FAULT_UNASKED, client, sub, <uint64_t>message.sub, 0)
        kept.price_exp, kept.size_exp = <int8_t>message.price_exp, <int8_t>message.size_exp
        sub.number = message.sub
        enter_sub(client, place)
        client.answered += 1
        self.totals.subscribed += 1
        self.begin(client, sub, message.resumed)
        return 0

    cdef void begin(self, Tracked* client, Sub* sub, bint resumed) noexcept nogil:
        self.totals.resumed += resumed
        self.totals.not_resumed += sub.resuming and not resumed
        sub.state = SUB_WAITING
        if resumed and sub.resuming:
            go_live(client, sub)
        elif resumed:
            self.c_fault(FAULT_UNASKED, client, sub, <uint64_t>sub.number, 0)
        elif not self.groups[client.group].topic.is_book:
            sub.epoch = sub.seq = 0             # trades and tickers have no snapshot
            go_live(client, sub)

    cdef int take_snapshot(self, Tracked* client, const Message* message) except -1 nogil:
        cdef Sub* sub = find_sub(client, message.sub)
        self.counts.snapshots += 1
        if message.has & SNAPSHOT_HEAD != SNAPSHOT_HEAD or client.verify and message.has & BOOK_BODY != BOOK_BODY:
            return self.c_fault(FAULT_MALFORMED, client, sub, <uint64_t>message.has, KIND_SNAPSHOT)
        if sub == NULL:
            return self.c_fault(FAULT_UNKNOWN_SUB, client, NULL, <uint64_t>message.sub, message.last)
        if sub.state == SUB_LIVE and (message.epoch < sub.epoch or message.epoch == sub.epoch and message.last < sub.seq):
            self.c_fault(FAULT_BACKWARDS, client, sub, message.epoch, message.last)
        elif message.epoch == sub.epoch and message.last > sub.seq:
            self.counts.skipped += message.last - sub.seq
        sub.epoch, sub.seq, sub.resuming = message.epoch, message.last, False
        go_live(client, sub)
        self.check_expected(client, sub)
        if client.verify:
            self.load_book(client, sub, message)
        return 0

    cdef int take_delta(self, Tracked* client, const Message* message) except -1 nogil:
        cdef Sub* sub = find_sub(client, message.sub)
        cdef uint64_t updates
        self.counts.deltas += 1
        if message.has & DELTA_HEAD != DELTA_HEAD or client.verify and message.has & BOOK_BODY != BOOK_BODY or message.last < message.first:
            return self.c_fault(FAULT_MALFORMED, client, sub, <uint64_t>message.has, KIND_DELTA)
        if sub == NULL:
            return self.c_fault(FAULT_UNKNOWN_SUB, client, NULL, <uint64_t>message.sub, message.last)
        if sub.state < SUB_LIVE:
            return self.c_fault(FAULT_EARLY, client, sub, message.first, message.last)
        if self.floor and not sub.epoch:        # its snapshot is empty: start at the first delta
            sub.epoch, sub.seq = 1, message.first - 1
        if message.first != sub.seq + 1 or sub.state == SUB_RELOADING:
            if not self.take_unexpected(client, sub, message):
                return 0
        updates = message.last - max(message.first - 1, sub.seq)
        sub.seq, sub.resuming, sub.state = message.last, False, SUB_LIVE
        self.counts.updates += updates
        self.record(client, message.ts_us)
        self.check_expected(client, sub)
        if client.verify and sub.book != NULL:
            self.apply_book(client, sub, message)
        return 0

    cdef bint take_unexpected(self, Tracked* client, Sub* sub, const Message* message) except -1 nogil:
        """A delta with an unexpected number: counts the fault; returns whether to apply the delta anyway."""
        if sub.state == SUB_RELOADING or sub.state == SUB_HELD and message.first > sub.seq + 1:
            return False                        # wait for the answer, which has what is dropped here
        if message.last <= sub.seq:
            self.c_fault(FAULT_REPEAT, client, sub, message.first, message.last)
            return False
        if message.first <= sub.seq:
            if sub.state != SUB_HELD:           # an answer to `recover` may overlap
                self.c_fault(FAULT_OVERLAP, client, sub, message.first, message.last)
            return True
        self.c_fault(FAULT_GAP, client, sub, message.first, message.last)
        if not self.recover:
            drop_book(sub)
            return True
        sub.state = SUB_HELD
        self.counts.recovers += 1
        put_recover(&self.out, self.format, sub.number, sub.seq + 1)
        return False

    cdef void record(self, const Tracked* client, uint64_t ts_us) noexcept nogil:
        cdef int64_t latency = self.now_us - <int64_t>ts_us
        (<Histogram>self.groups[client.group].latency).c_record(latency, 1)
        if not self.groups[client.group].is_slow:
            self.latency.c_record(latency, 1)

    cdef uint64_t c_expected(self, const Tracked* client, const Sub* sub) noexcept nogil:
        cdef const InstrumentState* kept = &self.instruments[sub.instrument]
        return kept.expected_trade if self.groups[client.group].is_trades else kept.expected

    cdef void check_expected(self, const Tracked* client, const Sub* sub) noexcept nogil:
        cdef uint64_t expected = self.c_expected(client, sub)
        if expected and sub.seq > expected:
            self.c_fault(FAULT_BEYOND, client, sub, sub.seq, expected)

    # ---- the other channels

    cdef int take_trades(self, Tracked* client, const Message* message) except -1 nogil:
        cdef Sub* sub = find_sub(client, message.sub)
        cdef uint64_t ts_us = 0
        if message.has & TRADES_HEAD != TRADES_HEAD or not message.has & HAS_ROWS or message.last < message.first:
            return self.c_fault(FAULT_MALFORMED, client, sub, <uint64_t>message.has, KIND_TRADES)
        if sub == NULL:
            return self.c_fault(FAULT_UNKNOWN_SUB, client, NULL, <uint64_t>message.sub, message.last)
        if not self.read_trades(message, &ts_us):
            return self.c_fault(FAULT_MALFORMED, client, sub, message.first, message.last)
        if sub.epoch == message.epoch and message.first != sub.seq + 1:
            self.c_fault(FAULT_GAP if message.first > sub.seq + 1 else FAULT_REPEAT, client, sub, message.first, message.last)
        elif message.epoch < sub.epoch:
            self.c_fault(FAULT_BACKWARDS, client, sub, message.epoch, message.last)
        sub.epoch, sub.seq = message.epoch, message.last
        self.check_expected(client, sub)
        self.counts.trades += message.last - message.first + 1
        self.record(client, ts_us)
        return 0

    cdef bint read_trades(self, const Message* message, uint64_t* ts_us) noexcept nogil:
        """Whether the trades have the numbers first..last; gives the time of the last one."""
        if self.format == FORMAT_JSON:
            return json_trades(&message.rows, message.first, message.last, ts_us)
        return msgpack_trades(&message.rows, message.first, message.last, ts_us)

    cdef int take_lost(self, Tracked* client, const Message* message) except -1 nogil:
        cdef Sub* sub = find_sub(client, message.sub)
        if message.has & (HAS_SUB | HAS_FIRST | HAS_LAST) != HAS_SUB | HAS_FIRST | HAS_LAST:
            return self.c_fault(FAULT_MALFORMED, client, sub, <uint64_t>message.has, KIND_LOST)
        if sub == NULL:
            return self.c_fault(FAULT_UNKNOWN_SUB, client, NULL, <uint64_t>message.sub, message.last)
        if sub.epoch and message.first != sub.seq + 1:
            self.c_fault(FAULT_GAP, client, sub, message.first, message.last)
        self.counts.lost += message.last - message.first + 1
        sub.seq = message.last
        return 0

    cdef int take_ticker(self, Tracked* client, const Message* message) except -1 nogil:
        cdef Sub* sub = find_sub(client, message.sub)
        self.counts.tickers += 1
        if message.has & SNAPSHOT_HEAD != SNAPSHOT_HEAD:
            return self.c_fault(FAULT_MALFORMED, client, sub, <uint64_t>message.has, KIND_TICKER)
        if sub == NULL:
            return self.c_fault(FAULT_UNKNOWN_SUB, client, NULL, <uint64_t>message.sub, message.last)
        if message.epoch < sub.epoch or message.epoch == sub.epoch and message.last < sub.seq:
            self.c_fault(FAULT_BACKWARDS, client, sub, message.epoch, message.last)
        sub.epoch, sub.seq = message.epoch, message.last
        self.record(client, message.ts_us)
        return 0

    cdef int take_heartbeat(self, Tracked* client, const Message* message) except -1 nogil:
        cdef Text text = Text(message.rows.at, message.rows.at + message.rows.size)
        cdef Cursor cursor
        cdef Py_ssize_t count
        cdef int64_t sub = 0, seq = 0
        self.counts.heartbeats += 1
        if not message.has & HAS_ROWS:
            return self.c_fault(FAULT_MALFORMED, client, NULL, <uint64_t>message.has, KIND_HEARTBEAT)
        if self.format == FORMAT_JSON:
            while json_number(&text, &sub) and json_number(&text, &seq):
                self.check_tail(client, sub, <uint64_t>seq)
            return 0
        slice_cursor(&message.rows, &cursor)
        count = msgpack_list(&cursor)
        while count >= 2 and msgpack_number(&cursor, &sub) and msgpack_number(&cursor, &seq):
            self.check_tail(client, sub, <uint64_t>seq)
            count -= 2
        return 0 if count == 0 else self.c_fault(FAULT_MALFORMED, client, NULL, <uint64_t>count, KIND_HEARTBEAT)

    cdef void check_tail(self, const Tracked* client, int64_t number, uint64_t seq) noexcept nogil:
        cdef Sub* sub = find_sub(client, number)
        if sub == NULL:
            self.c_fault(FAULT_UNKNOWN_SUB, client, NULL, <uint64_t>number, seq)
        elif sub.state == SUB_LIVE and not sub.resuming and sub.epoch and seq > sub.seq:
            self.c_fault(FAULT_LOST_TAIL, client, sub, <uint64_t>number, seq)

    # ---- books of verified clients

    cdef int read_side(self, const Tracked* client, const Sub* sub, const Slice* side) except -1 nogil:
        """Reads levels into ``_levels``; counts a fault and returns 0 if they are invalid."""
        cdef InstrumentState* kept = &self.instruments[sub.instrument]
        cdef int outcome
        if self.format == FORMAT_JSON:
            outcome = json_levels(side, kept.price_exp, kept.size_exp, &self._levels)
        else:
            outcome = msgpack_levels(side, &self._levels)
        if outcome <= 0:
            self.c_fault(FAULT_DECIMALS if outcome == -2 else FAULT_MALFORMED, client, sub, <uint64_t>side.size, 0)
            return 0
        return 1

    cdef int load_book(self, const Tracked* client, Sub* sub, const Message* message) except -1 nogil:
        cdef bint good
        if sub.book == NULL:
            sub.book = <Ladder*>calloc(1, sizeof(Ladder))
            if sub.book == NULL:
                with gil:
                    raise MemoryError("no memory for a client's book")
        good = self.load_side(client, sub, &sub.book.bids, &message.bids, True)
        good = self.load_side(client, sub, &sub.book.asks, &message.asks, False) and good
        if good:
            return self.check_book(client, sub, message.crc)
        drop_book(sub)
        return 0

    cdef bint load_side(self, const Tracked* client, const Sub* sub, Levels* side, const Slice* rows, bint is_bid) except -1 nogil:
        if not self.read_side(client, sub, rows):
            return False
        if not ladder_load(side, &self._levels, is_bid):
            self.c_fault(FAULT_ORDER, client, sub, is_bid, 0)
            return False
        return True

    cdef int apply_book(self, Tracked* client, Sub* sub, const Message* message) except -1 nogil:
        if not self.read_side(client, sub, &message.bids):
            return self.reload(sub)
        ladder_apply(&sub.book.bids, &self._levels, True)
        if not self.read_side(client, sub, &message.asks):
            return self.reload(sub)
        ladder_apply(&sub.book.asks, &self._levels, False)
        if not self.check_book(client, sub, message.crc):
            return self.reload(sub)
        return 0

    cdef bint check_book(self, const Tracked* client, Sub* sub, uint64_t crc) noexcept nogil:
        cdef Ladder* book = sub.book
        cdef int64_t depth = self.groups[client.group].topic.depth
        cdef uint32_t ours
        if self.floor:
            return True
        self.counts.checked += 1
        if depth and (book.bids.count > depth or book.asks.count > depth):
            self.c_fault(FAULT_DEPTH, client, sub, <uint64_t>book.bids.count, <uint64_t>book.asks.count)
        if ladder_crossed(book):
            self.c_fault(FAULT_CROSSED, client, sub, <uint64_t>book.bids.values[0], <uint64_t>book.asks.values[0])
        ours = ladder_crc(book)
        if ours == crc:
            return True
        self.c_fault(FAULT_CRC, client, sub, crc, ours)
        return False

    cdef int reload(self, Sub* sub) except -1 nogil:
        """The book is wrong: asks for a snapshot, and does not check until it comes."""
        drop_book(sub)
        if self.recover:
            sub.state = SUB_RELOADING
            self.counts.recovers += 1
            put_recover(&self.out, self.format, sub.number, 0)
        return 0
