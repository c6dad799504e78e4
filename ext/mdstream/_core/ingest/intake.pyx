"""The live messages of an instrument go from the read buffer into its book without a Python object each."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from mdstream._core.orderbook.book cimport Book
from mdstream._core.codec.feed_decoder cimport sides_touched, snap_head
from mdstream._core.base.prefetch cimport prefetch

from mdstream.errors import FeedError

cdef enum:
    LINE = 64       # bytes of the cache that are fetched at once
    BACK_LINES = 8  # from the best level on: 32 levels


cdef class Intake:
    """Where one stream of an instrument enters a hub: ``intake(payload)`` is ``hub.take_…(instrument, payload)``."""

    def __init__(self, Hub hub not None, Instrument instrument not None):
        """Raises ValueError if the instrument is not of this hub. Use it no longer than until it is removed there."""
        self.hub = hub
        self.instrument = instrument
        self.topic_group = hub.c_topic_group(instrument)

    def __call__(self, bytes payload not None):
        return self.c_take(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef Outcome c_take(self, const char* payload, Py_ssize_t size) except? NOTHING:
        """Marks the topic_group for the next flush if anything changed, also where the payload was refused halfway."""
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
    """Takes all messages of an instrument: live books and trades straight into the core, all else the slow way.

    What changes the core asks ``scheduler`` for a flush, unless every topic of the instrument waits for its interval. What does not follow,
    or is refused, goes the slow way too, and changes nothing twice.
    """

    def __init__(self, slow not None, on_heard not None, FlushScheduler scheduler not None):
        """``slow`` is called with subject and payload; ``on_heard`` after the first message, and the first since ``heard`` was
        cleared."""
        self.slow = slow
        self.on_heard = on_heard
        self.scheduler = scheduler

    cdef int c_receive(self, const char* subject, Py_ssize_t subject_size,
                       const char* payload, Py_ssize_t payload_size) except -1:
        cdef bint done = False
        if ends_with(subject, subject_size, b".book", 5):
            done = self.book is not None and self.c_straight(self.book, payload, payload_size)
        elif ends_with(subject, subject_size, b".trade", 6):
            done = self.trades is not None and self.c_straight(self.trades, payload, payload_size)
        elif ends_with(subject, subject_size, b".snap", 5):
            done = self.book is not None and self.c_is_known(payload, payload_size)
        if not done:
            self.slow(
                PyBytes_FromStringAndSize(subject, subject_size), PyBytes_FromStringAndSize(payload, payload_size)
            )
        if not self.heard:
            self.heard = True
            self.on_heard()
        self.c_remember()
        return 0

    cdef void c_remember(self) noexcept:
        """Where the next update of the book will reach: most likely where this one would now."""
        cdef Intake intake = self.book
        if intake is None:
            self.footprint.book = NULL
            return
        self.footprint.intake = <const char*> <PyObject*> intake
        self.footprint.instrument = <const char*> <PyObject*> intake.instrument
        self.footprint.book = <const char*> <PyObject*> intake.instrument.book
        self.footprint.topic_group = <const char*> <PyObject*> intake.topic_group
        intake.instrument.book.c_next_writes(&self.footprint.reach)

    cdef void c_prefetch(self, const char* payload, Py_ssize_t size) noexcept nogil:
        cdef const Footprint* of = &self.footprint
        cdef bint bids, asks
        if of.book != NULL:
            sides_touched(payload, size, &bids, &asks)
            prefetch_lines(of.book, 4)
            prefetch_lines(of.instrument, 2)
            prefetch_lines(of.intake, 1)
            prefetch_lines(of.topic_group, 1)
            prefetch_lines(<const char*> of.reach.change, 1)
            prefetch(of.reach.bid_run)
            prefetch(of.reach.ask_run)
            prefetch_back(<const char*> of.reach.bid, <const char*> of.reach.bid_last, BACK_LINES if bids else 1)
            prefetch_back(<const char*> of.reach.ask, <const char*> of.reach.ask_last, BACK_LINES if asks else 1)

    cdef bint c_straight(self, Intake intake, const char* payload, Py_ssize_t size) except -1:
        """Whether that was all. A gap and what is refused are for the slow way, where they are found once more: what was
        applied before them is known then, and dropped."""
        cdef Outcome outcome
        try:
            outcome = intake.c_take(payload, size)
        except FeedError:
            outcome = Outcome.GAP
        if outcome != Outcome.NOTHING and intake.hub.dirty:     # not while each topic of it waits for its interval
            self.scheduler.c_request()
        return outcome != Outcome.GAP

    cdef bint c_is_known(self, const char* snap, Py_ssize_t size) noexcept:
        """Whether a live book has all that a snapshot has: so it is with nearly every one."""
        cdef uint64_t epoch = 0
        cdef uint64_t seq = 0
        cdef Book book = self.book.instrument.book
        return snap_head(snap, size, &epoch, &seq) and epoch == book.epoch and seq <= book.seq


cdef inline void prefetch_lines(const char* at, int lines) noexcept nogil:
    cdef int i
    for i in range(lines):
        prefetch(at + LINE * i)


cdef inline void prefetch_back(const char* best, const char* last, int lines) noexcept nogil:
    """From the best level on; of a side that is not changed the best alone is looked at."""
    cdef int i
    for i in range(lines):
        if best - LINE * i <= last:
            prefetch(last)
            break
        prefetch(best - LINE * i)


cdef inline bint ends_with(const char* text, Py_ssize_t size, const char* tail, Py_ssize_t tail_size) noexcept nogil:
    return size >= tail_size and memcmp(text + size - tail_size, tail, tail_size) == 0
