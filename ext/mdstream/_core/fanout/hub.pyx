"""The hub: what came from the bus is marked, `flush` and `tick` send it, and every sink is written to once."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.codec.deflate cimport Deflater
from mdstream._core.codec.variant cimport VARIANTS, PLAIN, format_of, compression_of
from mdstream._core.fanout.due cimport TICK_US, DueTopics
from mdstream._core.fanout.heartbeats cimport Heartbeats
from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.fanout.outbox cimport Frame
from mdstream._core.fanout.sender cimport Sender
from mdstream._core.fanout.slow_sinks cimport SlowSinks
from mdstream._core.fanout.topic cimport AHEAD, IN_STEP, Member
from mdstream._core.fanout.topic_composed cimport ComposedTopic
from mdstream._core.fanout.topic_table cimport TopicTable
from mdstream._core.websocket.frame cimport OP_BINARY, OP_CLOSE, OP_TEXT

cdef enum:
    SHORT_TICK_US = 10000       # while an interval is shorter than TICK_US
    DEFER_SHARE = 10            # of the shortest interval that anybody asked for


cdef class Hub(FlushTarget):
    """Joins instruments, topics and sinks, and flushes: encode once per topic and format, write once per sink.

    No I/O and no clock of its own: its owner calls ``flush`` after each batch from the bus and ``tick`` every ``tick_us``,
    50 ms as a rule, or less often while nothing ``waits``.
    A subscription that is ahead of its topic is told `recovering` apart from the others: once it is in step, or has waited too long,
    ``on_arrival`` is called with its sink and topic, after its data, to tell it what state the topic has.
    Times are integer µs. All that is measured is measured on a monotonic clock, ``now_us``; ``wall_us``, the time since the Unix
    epoch, is sent in heartbeats and compared with event times, and may step.
    """

    def __init__(
        self,
        *,
        log_capacity: int = 16384,
        trade_capacity: int = 4096,
        max_levels: int = 65536,
        heartbeat_us: int = 15_000_000,
        slow_limit_us: int = 30_000_000,
        slice_us: int = 1_000,
        compression_level: int = 1,
        compression_threshold_bytes: int = 256,
        sender: Sender | None = None,
    ) -> None:
        """``slice_us``: how long one sink is brought up to date at a time. ``compression_*``: for sinks with ``window_bits``; smaller messages are sent to them as they are. ``sender``: writes to
        many sinks at once; without it, each writes for itself."""
        if heartbeat_us < TICK_US:
            raise ValueError(f"heartbeat_us is {heartbeat_us}; it must be at least {TICK_US}, the pace of tick()")
        self.out = Outbox()
        self.out.sender = sender
        self.out.deflater = Deflater(compression_level, compression_threshold_bytes)
        self.heartbeat_us = heartbeat_us
        self.slow_limit_us = slow_limit_us
        self.table = TopicTable({
            "log_capacity": log_capacity, "trade_capacity": trade_capacity, "max_levels": max_levels
        })
        self.due = DueTopics(self.out)
        self.slow = SlowSinks(self.out, slow_limit_us, slice_us)
        self.on_arrival = None
        self.heartbeats = Heartbeats(heartbeat_us, TICK_US)

    @property
    def now_us(self) -> int:
        """The monotonic time last given to ``flush`` or ``tick``."""
        return self.out.now_us

    @property
    def changed(self) -> bool:
        """Whether anything has changed that ``flush`` would look at."""
        return self.c_changed()

    @property
    def waits(self) -> bool:
        """Whether a tick is wanted within ``tick_us``: an interval ends, a grouped view waits for its turn, or a resume may come true."""
        return self.c_waits()

    cdef bint c_changed(self) except -1:
        return self.dirty is not None

    cdef bint c_waits(self) except -1:
        return self.due.c_waits()

    @property
    def stretch(self) -> int:
        """Every interval is so many times as long as asked for: 1, unless the gateway cannot keep up."""
        return self.due.stretch

    @stretch.setter
    def stretch(self, uint32_t times):
        self.due.stretch = times

    @property
    def updates(self) -> int:
        """As in ``stats``."""
        return self.out.counters.updates

    # ---- writing

    def cork(self) -> None:
        """Holds all writes back until ``uncork``: what is sent in between leaves in one write per sink. Nests."""
        self.c_enter()

    def uncork(self) -> None:
        if not self.out.corks:
            raise RuntimeError("uncork without cork")
        self.c_leave()

    cdef int c_enter(self) except -1:
        self.out.corks += 1
        return 0

    cdef int c_leave(self) except -1:
        """The outermost leave writes, and marks the sinks that take no more."""
        if self.out.arrived:
            self.c_tell_arrivals()
        if self.out.corks > 1:
            self.out.corks -= 1
            return 0
        try:
            self.out.c_write()
            self.slow.c_mark_filled()
        finally:
            self.out.corks -= 1
        return 0

    cdef int c_tell_arrivals(self) except -1:
        arrived, self.out.arrived = self.out.arrived, []
        for sink, topic in arrived:
            if self.on_arrival is not None and self.find(sink, topic.number) is topic:
                self.on_arrival(sink, topic)
        return 0

    # ---- instruments

    def add_instrument(self, name: str, price_exp: int, size_exp: int) -> Instrument:
        """Raises ValueError if there is one of that name, or an exponent is beyond ±18."""
        return self.table.c_add_instrument(name, price_exp, size_exp)

    def remove_instrument(self, instrument: Instrument) -> None:
        """Forgets an instrument that has no subscribers; ValueError if it has any."""
        topic_group = self.table.c_group(instrument)
        if any(topic.subscribers for topic in topic_group.topics):
            raise ValueError(f"instrument {instrument.name} has subscribers; it cannot be removed")
        for topic in list(topic_group.topics):
            self.c_drop(topic)
        self.table.c_remove_instrument(instrument)

    # ---- from the bus

    cdef int c_mark(self, object instrument) except -1:
        return self.c_mark_group(self.table.c_group(instrument))

    cdef int c_mark_group(self, TopicGroup topic_group) except -1:
        if not topic_group.dirty and not topic_group.deferred:
            topic_group.dirty = True
            topic_group.next_dirty, self.dirty = self.dirty, topic_group
            topic_group.c_prefetch_members()
        return 0

    cdef TopicGroup c_next_dirty(self):
        """Takes the first one off the chain: it costs no memory to be on it."""
        cdef TopicGroup first = self.dirty
        self.dirty, first.next_dirty = first.next_dirty, None
        first.dirty = False
        return first

    def take_book(self, instrument: Instrument, payload: bytes) -> int:
        """One NATS payload of stream ``book``; returns an ``Outcome``. Raises PayloadError or BookError (values before it stay applied)."""
        cdef uint64_t epoch = instrument.book.epoch
        cdef uint64_t seq = instrument.book.seq
        try:
            return instrument.c_take_book(payload, len(payload))
        finally:            # what came before a value that was refused stays applied
            if instrument.book.seq != seq or instrument.book.epoch != epoch:
                self.c_mark(instrument)

    def take_trades(self, instrument: Instrument, payload: bytes) -> int:
        cdef uint64_t epoch = instrument.trades.epoch
        cdef uint64_t seq = instrument.trades.seq
        try:
            return instrument.c_take_trades(payload, len(payload))
        finally:
            if instrument.trades.seq != seq or instrument.trades.epoch != epoch:
                self.c_mark(instrument)

    def load_snap(self, instrument: Instrument, payload: bytes, *, force: bool = False) -> bool:
        """Loads a ``snap`` payload if it is newer than the book (or ``force``): topics then send ``reload`` or ``epoch`` snapshots."""
        topic_group = self.table.c_group(instrument)
        if not instrument.c_load_snap(payload, len(payload), force):
            return False
        (<TopicGroup>topic_group).loads += 1
        self.c_mark(instrument)
        return True

    def begin(self, instrument: Instrument, epoch: int) -> None:
        """Begins a greater epoch, as ``Instrument.begin``."""
        instrument.begin(epoch)
        self.c_mark(instrument)

    def reset_trades(self, instrument: Instrument, epoch: int, seq: int) -> None:
        """Gives up trades up to ``seq`` that nobody holds any more; subscribers are told ``lost``."""
        instrument.reset_trades(epoch, seq)
        self.c_mark(instrument)

    # ---- topics

    def topic(self, instrument: Instrument, channel: str, depth: int = 0, group: int = 1, interval_ms: int = 0) -> Topic:
        """The topic of that key, made on first use; its ``number`` is the ``sub`` of everybody subscribed to it on this hub.

        A topic lives (``alive``) from its first subscriber to its last; only then it is computed. Do not keep it, ask again.
        ValueError for a channel that is none.
        """
        return self.table.c_topic((instrument, channel, depth, group, interval_ms))

    def compose(self, name: str, channel: str, interval_ms: int, source: object, *, epoch: int) -> ComposedTopic:
        """A topic of many instruments whose messages `source` makes, see ``topic_composed``; it stands at 0 in ``epoch``.

        The caller keeps it. It may be subscribed to again after its last subscriber left.
        """
        return self.table.c_compose(name, channel, interval_ms, source, epoch)

    def publish(self, topic: ComposedTopic, seq: int, ts_us: int) -> None:
        """Moves a composed topic to `seq`: who is in step is sent what leads there, encoded once in each format."""
        if seq <= topic.seq:
            raise ValueError(f"{topic!r} cannot go to {seq}")
        self.c_enter()
        try:
            topic.c_publish(self.out, seq, ts_us)
        finally:
            self.c_leave()

    cdef int c_enlist(self, Topic topic) except -1:
        self.table.c_enlist(topic)
        return self.c_pace()

    cdef int c_drop(self, Topic topic) except -1:
        self.table.c_drop(topic)
        self.due.c_forget(topic)
        self.c_pace()
        return topic.c_end(self.out)

    cdef int c_pace(self) except -1:
        cdef uint64_t shortest_us = self.table.shortest_us
        self.defer_us = shortest_us // DEFER_SHARE
        self.tick_us = SHORT_TICK_US if 0 < shortest_us < TICK_US else TICK_US
        self.due.slack_us = self.tick_us // 2
        return 0

    # ---- subscriptions

    def attach(self, sink: Sink) -> None:
        """Registers a sink for heartbeats and the slow limit. ``subscribe`` does it too, a ``Session`` when it opens."""
        if sink.closed:
            raise ValueError("the sink is closed")
        if sink.hub is self:
            return
        if sink.hub is not None:
            raise ValueError("the sink belongs to another hub")
        sink.hub = self
        sink.heard_us = self.out.now_us
        self.heartbeats.c_add(sink)

    def detach(self, sink: Sink) -> None:
        """Called by the sink when it closes."""
        while sink.n_places:
            self.c_remove(sink, sink.n_places - 1)
        self.slow.blocked.discard(sink)
        self.heartbeats.c_remove(sink)

    def find(self, sink: Sink, number: int) -> Topic | None:
        """The topic that the sink is subscribed to under this ``sub``."""
        cdef uint32_t i
        cdef Topic topic
        for i in range(sink.n_places):
            topic = <Topic>sink.places[i].topic
            if topic.number == number:
                return topic
        return None

    cdef Py_ssize_t c_place(self, Sink sink, Topic topic) except -1:
        cdef Py_ssize_t place = sink.c_find(<PyObject*>topic)
        if place < 0:
            raise ValueError(f"the sink is not subscribed to {topic!r}")
        return place

    def subscribe(self, sink: Sink, topic: Topic, resume: tuple | None = None) -> bool:
        """Adds a subscription; True if resumed from (epoch, seq). Send ``subscribed`` first, then call ``catch_up``.

        Until ``catch_up`` the subscription gets nothing. ValueError if the sink has it already (ask ``find``) or is closed.
        """
        if sink.c_find(<PyObject*>topic) >= 0:
            raise ValueError(f"the sink is subscribed to {topic!r} already")
        return self.c_subscribe(sink, topic, resume)

    cdef bint c_subscribe(self, Sink sink, Topic topic, object resume) except -1:
        cdef Py_ssize_t place
        if sink.hub is not self or sink.closed:
            self.attach(sink)
        if not topic.alive:
            self.c_enlist(topic)
        try:
            return self.c_admit(sink, topic, resume)
        except BaseException:
            place = sink.c_find(<PyObject*>topic)
            if place >= 0:
                self.c_remove(sink, place)
            elif topic.alive and topic.c_count_members() == 0:
                self.c_drop(topic)      # nobody would ever end it
            raise

    cdef bint c_admit(self, Sink sink, Topic topic, object resume) except -1:
        cdef Member* member
        cdef uint64_t epoch = 0
        cdef uint64_t seq = 0
        cdef bint resumed
        if resume is not None:
            epoch, seq = resume
        self.c_enter()
        try:
            if topic.c_count_members() == 0:
                topic.c_start(self.out)
            else:
                topic.c_emit_first(self.out)
            member = topic.c_join(sink)
            self.subscriptions += 1
            resumed = topic.c_admit(self.out, member, resume is not None, epoch, seq)
            if member.state == AHEAD:
                self.due.c_add_ahead(topic)
        finally:
            self.c_leave()
        return resumed

    def join(self, sink: Sink, instrument: Instrument, view: tuple, resume: tuple | None = None) -> tuple:
        """``subscribe`` to the ``topic`` of a view (channel, depth, group, interval_ms).

        Returns the topic, and None instead of a bool if the sink is subscribed to it already.
        """
        cdef Topic topic = self.table.c_topic((instrument,) + view)
        if sink.c_find(<PyObject*>topic) >= 0:
            return topic, None
        return topic, self.c_subscribe(sink, topic, resume)

    def catch_up(self, sink: Sink, topic: Topic, answer: bytes | None = None, *, seen: int = 0) -> None:
        """Sends what brings the subscription up to date (snapshot, delta or nothing), at once where the sink can take it.

        ``answer``: a control message that goes ahead of it, as by ``send``. ``seen``: trades up to this number are not sent.
        """
        self.c_catch_up(sink, topic, answer, seen)

    cdef int c_catch_up(self, Sink sink, Topic topic, bytes answer, uint64_t seen) except -1:
        cdef Py_ssize_t place = self.c_place(sink, topic)
        cdef Member* member = topic.c_member(sink, place)
        member.held = False
        member.seq = max(member.seq, seen)
        self.c_enter()
        try:
            if answer is not None:
                self.c_send(sink, OP_BINARY if sink.format else OP_TEXT, answer, len(answer))
            if not sink.blocked and not sink.closed:        # the answer may have been one too many
                topic.c_catch_up(self.out, sink, place)
            self.slow.c_relieve(sink)
        finally:
            self.c_leave()
        return 0

    def unsubscribe(self, sink: Sink, topic: Topic) -> bool:
        """False if there was no such subscription."""
        cdef Py_ssize_t place = sink.c_find(<PyObject*>topic)
        if place < 0:
            return False
        self.c_remove(sink, place)
        return True

    cdef int c_remove(self, Sink sink, Py_ssize_t place) except -1:
        cdef Topic topic = <Topic>sink.places[place].topic
        topic.c_leave(sink, place)
        self.subscriptions -= 1
        if topic.c_count_members() == 0:
            self.c_drop(topic)
        return 0

    def is_owed(self, sink: Sink, topic: Topic) -> bool:
        """Whether a subscription waits for a number that the bus bears out: anything before it would take it back."""
        cdef Member* member = topic.c_member(sink, self.c_place(sink, topic))
        return member.state == AHEAD and member.seq <= topic.instrument.awaited

    def position(self, sink: Sink, topic: Topic) -> int:
        """The number up to which a subscription was sent everything. ValueError if the sink has no such subscription."""
        cdef Member* member = topic.c_member(sink, self.c_place(sink, topic))
        return topic.c_position() if member.state == IN_STEP else member.seq

    def recover(self, sink: Sink, topic: Topic, from_seq: int) -> None:
        """Answers ``recover``: delta or snapshot, whichever is smaller; for trades the missing ones or ``lost``.

        ValueError if the sink has no such subscription.
        """
        cdef Py_ssize_t place = self.c_place(sink, topic)
        self.c_enter()
        try:
            topic.c_recover(self.out, sink, place, from_seq)
            if not sink.blocked:
                topic.c_catch_up(self.out, sink, place)
            self.slow.c_relieve(sink)
        finally:
            self.c_leave()

    def recover_work(self, sink: Sink, topic: Topic, from_seq: int) -> int:
        """What the answer to ``recover`` costs at most: levels, changes or trades to be computed and encoded; at least 1."""
        return topic.c_recover_work(sink.variant, from_seq)

    # ---- control messages

    cdef int c_send(self, Sink sink, int opcode, const char* payload, Py_ssize_t size) except -1:
        cdef Frame frame
        if sink.closed:
            return 0
        self.c_enter()
        try:
            self.out.c_frame_of(opcode, compression_of(sink.variant) if opcode < OP_CLOSE else PLAIN, payload, size, &frame)
            self.out.c_deliver(sink, frame)
            self.slow.c_relieve(sink)
        finally:
            self.c_leave()
        return 0

    def send(self, sink: Sink, payload: bytes) -> None:
        """One control message to one sink, in the sink's format, in order with its data; also while it is blocked."""
        self.c_send(sink, OP_BINARY if sink.format else OP_TEXT, payload, len(payload))

    def broadcast(self, topic: Topic, json: bytes, msgpack: bytes, *, to_apart: bool = True) -> None:
        """Hands every subscriber of a topic one control message (``state``, ``ref``), ready in both formats, in order with its data.
        ``to_apart``: also those that are told `recovering` apart from the others."""
        cdef int variant
        cdef uint32_t i
        cdef Frame frame
        cdef Member* member
        cdef bint all_of_them = to_apart
        self.c_enter()
        try:
            for variant in range(VARIANTS):
                if not topic.members[variant].count:
                    continue
                payload = msgpack if format_of(variant) else json
                self.out.c_message(variant, payload, len(payload), &frame)
                for i in range(topic.members[variant].count):
                    member = &topic.members[variant].items[i]
                    if not member.held and (all_of_them or not member.apart):
                        self.out.c_deliver(<Sink>member.sink, frame)
        finally:
            self.c_leave()

    # ---- slow sinks

    def drained(self, sink: Sink) -> bool:
        """Called by the sink when its peer reads again: brings each subscription up to date until it blocks once more.

        False if time is up before: then call again soon, and others have their turn first.
        """
        if sink.closed:
            return True
        self.slow.c_unblock(sink)
        self.c_enter()
        try:
            self.slow.c_catch_up(sink)
        finally:
            self.c_leave()
        return sink.lagging == 0 or sink.blocked or sink.closed

    # ---- time

    cdef int c_clock(self, uint64_t now_us, uint64_t wall_us) except -1:
        if now_us > self.out.now_us:
            self.out.now_us = now_us
        self.out.wall_us = wall_us
        return 0

    def flush(self, now_us: int, wall_us: int | None = None) -> int:
        """Emits every changed topic that is due (interval 0, or the interval has passed since its last) and writes once per
        touched sink; returns deliveries. What is not due waits for ``tick``. ``wall_us`` None: the same as ``now_us``."""
        return self.c_flush(now_us, now_us if wall_us is None else wall_us)

    cdef int64_t c_flush(self, uint64_t now_us, uint64_t wall_us) except -1:
        cdef uint64_t deliveries = self.out.counters.deliveries
        cdef TopicGroup topic_group
        cdef Topic topic
        cdef DueTopics due = self.due
        cdef bint deferred
        self.c_clock(now_us, wall_us)
        if self.dirty is None:
            return 0
        self.c_enter()
        self.out.c_begin()
        try:
            while self.dirty is not None:
                topic_group = self.c_next_dirty()
                deferred = True
                for topic in topic_group.topics:
                    due.c_emit(topic, 0, False)
                    deferred = deferred and topic.waiting
                topic_group.deferred = deferred
            if due.costly:
                due.c_serve_costly()
            self.undelayed = due.undelayed
            deliveries = self.out.counters.deliveries - deliveries
        finally:
            self.c_leave()
            self.out.c_end(True)
        return <int64_t>deliveries

    def tick(self, now_us: int, wall_us: int | None = None) -> int:
        """Call every ``tick_us`` while anything ``waits``: topics whose interval ended, heartbeats, resumes that never came true, sinks
        too slow for too long."""
        return self.c_tick(now_us, now_us if wall_us is None else wall_us)

    cdef int64_t c_tick(self, uint64_t now_us, uint64_t wall_us) except -1:
        cdef uint64_t deliveries = self.out.counters.deliveries
        self.c_clock(now_us, wall_us)
        self.c_enter()
        self.out.c_begin()
        try:
            self.due.c_tick()
            self.undelayed = self.due.undelayed
            self.slow.c_end_too_slow()
            self.heartbeats.c_serve(self.out)
            deliveries = self.out.counters.deliveries - deliveries
        finally:
            self.c_leave()
            self.out.c_end(False)
        return <int64_t>deliveries

    # ---- figures

    def stats(self) -> dict:
        """Counters since the start, and what is now.

        ``updates`` (messages encoded for a topic), ``deliveries``, ``bytes``, ``writes``, ``snapshots``, ``deltas``, ``heartbeats``,
        ``recover_delta`` ``recover_snapshot`` ``recover_trades`` ``recover_lost`` (individual answers by kind), ``conflated``
        (numbers that slow sinks received merged), ``too_slow`` (closed for it), ``compressed`` (messages, each once for all its
        sinks), ``compressed_bytes_in``, ``compressed_bytes_out``; now: ``slow_sinks``, ``sinks``, ``topics``,
        ``subscriptions``; histograms in µs, ``[i]`` counting values below 2**i (the last: all others):
        ``flush_us``, ``latency_us`` (event time to written), and the sums of what they count, ``flush_total_us``, ``latency_total_us``.
        """
        figures = self.out.c_figures()
        figures["slow_sinks"] = len(self.slow.blocked)
        figures["sinks"] = self.heartbeats.n_sinks
        figures["topics"] = len(self.table.by_key)
        figures["subscriptions"] = self.subscriptions
        return figures
