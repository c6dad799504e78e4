"""The live messages of an instrument go from the read buffer into its book without a Python object each."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.feed_decoder cimport sides_touched, snap_head
from mdstream._core.base.prefetch cimport CACHE_LINE, prefetch, prefetch_range
from mdstream._core.orderbook.side cimport Level
from mdstream._core.fanout.topic_book cimport BookTopic

from mdstream.errors import FeedError

cdef enum:
    BEST_LEVELS = 32    # prefetched of a side that an update changes

cdef Py_ssize_t BOOK_BYTES = Book.__basicsize__
cdef Py_ssize_t INSTRUMENT_BYTES = Instrument.__basicsize__
cdef Py_ssize_t TOPIC_BYTES = BookTopic.__basicsize__


cdef class Intake:
    """Where one stream of an instrument enters a hub: ``intake(payload)`` is ``hub.take_…(instrument, payload)``."""

    def __init__(self, Hub hub not None, Instrument instrument not None):
        """Raises ValueError if the instrument is not of this hub. Use it no longer than until it is removed there."""
        self.hub = hub
        self.instrument = instrument
        self.topic_group = hub.table.c_group(instrument)

    def __call__(self, bytes payload not None):
        return self.c_take(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef Outcome c_take(self, const char* payload, Py_ssize_t size) except? NOTHING:
        """Marks the instrument for the next flush if anything changed, also if the payload was refused halfway."""
        raise NotImplementedError


cdef class BookIntake(Intake):
    cdef Outcome c_take(self, const char* payload, Py_ssize_t size) except? NOTHING:
        cdef uint64_t epoch = self.instrument.book.epoch
        cdef uint64_t seq = self.instrument.book.seq
        try:
            return self.instrument.c_take_book(payload, size)
        finally:
            if self.instrument.book.seq != seq or self.instrument.book.epoch != epoch:
                self.hub.c_mark_group(self.topic_group)


cdef class TradeIntake(Intake):
    cdef Outcome c_take(self, const char* payload, Py_ssize_t size) except? NOTHING:
        cdef uint64_t epoch = self.instrument.trades.epoch
        cdef uint64_t seq = self.instrument.trades.seq
        try:
            return self.instrument.c_take_trades(payload, size)
        finally:
            if self.instrument.trades.seq != seq or self.instrument.trades.epoch != epoch:
                self.hub.c_mark_group(self.topic_group)


cdef class InstrumentReceiver(Receiver):
    """Takes all messages of an instrument: live books and trades straight into the core, all others by ``fallback``.

    A change of the core asks ``scheduler`` for a flush, unless every topic of the instrument waits for its interval. A message
    that is not accepted goes to ``fallback`` too: one that leaves a gap, is refused, is known already, or is of another epoch. What it
    had changed before is not changed twice. So does a snapshot that is new, or differs from the book.
    """

    def __init__(self, fallback not None, on_heard not None, FlushScheduler scheduler not None):
        """``fallback`` is called with subject and payload, ``on_heard`` after the first message that was accepted, and after the
        first since ``check_at`` was called without ``calm_us``."""
        self.fallback = fallback
        self.on_heard = on_heard
        self.scheduler = scheduler
        self.silent = True

    def check_at(self, uint64_t due_us, uint64_t calm_us=0):
        """Tells a ``Watch`` when to call for a check: at ``due_us``; with ``calm_us`` only once nothing was accepted for so long."""
        self.due_us = due_us
        self.calm_us = calm_us
        self.silent = calm_us == 0

    cdef int c_receive(self, const char* subject, Py_ssize_t subject_size,
                       const char* payload, Py_ssize_t payload_size) except -1:
        cdef bint done = False
        if ends_with(subject, subject_size, b".book", 5):
            done = self.book is not None and self.c_apply(self.book, payload, payload_size)
        elif ends_with(subject, subject_size, b".trade", 6):
            done = self.trades is not None and self.c_apply(self.trades, payload, payload_size)
        elif ends_with(subject, subject_size, b".snap", 5):
            done = self.book is not None and self.c_is_confirmed(payload, payload_size)
        if not done:
            self.fallback(
                PyBytes_FromStringAndSize(subject, subject_size), PyBytes_FromStringAndSize(payload, payload_size)
            )
        self.c_predict()
        return 0

    cdef void c_predict(self) noexcept:
        """Remembers what memory the next update of the book will need: most likely what this one would need now."""
        cdef Intake intake = self.book
        if intake is None:
            self.footprint.book = NULL
            return
        self.footprint.intake = <PyObject*> intake
        self.footprint.instrument = <PyObject*> intake.instrument
        self.footprint.book = <PyObject*> intake.instrument.book
        self.footprint.topic_group = <PyObject*> intake.topic_group
        self.footprint.topics = NULL if intake.topic_group.deferred else <PyObject*> intake.topic_group.topics
        self.footprint.topics_at = intake.topic_group.topics_at
        self.footprint.first_topic = intake.topic_group.first_topic
        intake.instrument.book.c_next_writes(&self.footprint.writes)

    cdef void c_prefetch(self, const char* payload, Py_ssize_t size) noexcept nogil:
        cdef const Footprint* of = &self.footprint
        cdef bint bids, asks
        if of.book != NULL:
            sides_touched(payload, size, &bids, &asks)
            prefetch_range(of.book, BOOK_BYTES)
            prefetch_range(of.instrument, INSTRUMENT_BYTES)
            prefetch(of.intake)
            prefetch(of.topic_group)
            if of.topics != NULL:
                prefetch(of.topics)
                prefetch(of.topics_at)
                prefetch_range(of.first_topic, TOPIC_BYTES)
            prefetch(of.writes.change)
            prefetch(of.writes.bid_run)
            prefetch(of.writes.ask_run)
            prefetch_levels(<const char*> of.writes.bid, <const char*> of.writes.bid_last, BEST_LEVELS if bids else 1)
            prefetch_levels(<const char*> of.writes.ask, <const char*> of.writes.ask_last, BEST_LEVELS if asks else 1)

    cdef bint c_apply(self, Intake intake, const char* payload, Py_ssize_t size) except -1:
        """Whether it was accepted. Anything else is left to ``fallback``, which meets it again: what stood before it is applied
        already, and is dropped there."""
        cdef Outcome outcome
        try:
            outcome = intake.c_take(payload, size)
        except FeedError:
            outcome = Outcome.GAP
        # A read asks at its end. Nothing is dirty while each topic of the instrument waits for its interval.
        if outcome != Outcome.NOTHING and not self.scheduler.reading and intake.hub.dirty is not None:
            self.scheduler.c_request()
        if outcome != Outcome.APPLIED and outcome != Outcome.NEW_EPOCH:
            return False
        self.heard = True
        if self.silent:
            self.silent = False
            self.on_heard()
        return True

    cdef bint c_is_confirmed(self, const char* snap, Py_ssize_t size) except -1:
        """Whether a live book has everything that a snapshot has, as it nearly always does, and does not differ from it."""
        cdef uint64_t epoch = 0
        cdef uint64_t seq = 0
        cdef Book book = self.book.instrument.book
        if not snap_head(snap, size, &epoch, &seq) or epoch != book.epoch or seq > book.seq:
            return False
        try:
            return self.book.instrument.c_agrees(snap, size) != Agreement.DIFFERS
        except FeedError:
            return False


cdef inline void prefetch_levels(const char* best, const char* last, int levels) noexcept nogil:
    """Of the levels from the best one back to the last of its block: those of a side that is not changed are only compared with."""
    cdef size_t line
    for line in range((levels * sizeof(Level) + CACHE_LINE - 1) // CACHE_LINE):
        if best - CACHE_LINE * line <= last:
            prefetch(last)
            break
        prefetch(best - CACHE_LINE * line)


cdef inline bint ends_with(const char* text, Py_ssize_t size, const char* tail, Py_ssize_t tail_size) noexcept nogil:
    return size >= tail_size and memcmp(text + size - tail_size, tail, tail_size) == 0
