"""Frames on their way out: encoded once, linked to each sink that gets them, then written once per sink."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from cpython.ref cimport PyObject

from mdstream._core.base.arena cimport Arena, arena_take
from mdstream._core.base.check cimport check
from mdstream._core.base.buffer cimport Buffer
from mdstream._core.codec.deflate cimport Deflater
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.base.prefetch cimport prefetch
from mdstream._core.fanout.sender cimport BATCH, Job, Sender
from mdstream._core.fanout.sink cimport Delivery, Sink

cdef enum:
    BUCKETS = 32
    PREFETCH_AHEAD = 8          # sinks: how long before its use each is fetched into the cache

cdef struct Written:            # whose write a job is, and of what
    PyObject* sink
    const Delivery* first

cdef struct Frame:
    const char* data
    Py_ssize_t size

cdef struct Counters:
    uint64_t updates
    uint64_t deliveries
    uint64_t bytes
    uint64_t writes
    uint64_t snapshots
    uint64_t deltas
    uint64_t heartbeats
    uint64_t recover_delta
    uint64_t recover_snapshot
    uint64_t recover_trades
    uint64_t recover_lost
    uint64_t conflated
    uint64_t too_slow
    uint64_t[BUCKETS] flush_us
    uint64_t[BUCKETS] latency_us
    uint64_t flush_total_us
    uint64_t latency_total_us

cdef struct Sent:               # by this flush: when it happened, to how many
    uint64_t ts_us
    uint64_t deliveries

cdef class Outbox:
    cdef Counters counters
    cdef uint64_t now_us         # monotonic: what ages, intervals and deadlines are measured with
    cdef uint64_t wall_us       # since the Unix epoch, at now_us: for time stamps alone
    cdef uint32_t corks
    cdef bint timing
    cdef uint64_t began_us      # monotonic
    cdef Deflater deflater
    cdef Sender sender          # or None: each sink writes for itself
    cdef Job[BATCH] jobs
    cdef Written[BATCH] written     # of each job
    cdef char* joined           # copies of deliveries in several pieces, each in one piece
    cdef list filled            # sinks that took no more in the last writes; for the hub
    cdef list arrived           # (sink, topic) of members that are told apart no longer; for the hub
    # scratch space for topics
    cdef Buffer scratch
    cdef Levels bids
    cdef Levels asks
    cdef Levels other_bids
    cdef Levels other_asks
    cdef Arena frames
    cdef Arena deliveries
    cdef PyObject** unwritten   # sinks with deliveries; owned
    cdef Py_ssize_t n_unwritten
    cdef Py_ssize_t unwritten_capacity
    cdef Sent* sent
    cdef Py_ssize_t n_sent
    cdef Py_ssize_t sent_capacity
    cdef void** retired         # memory to be freed after the writes
    cdef Py_ssize_t n_retired
    cdef Py_ssize_t retired_capacity

    # The payload in `scratch` (emptied by this) as one frame of a variant in the arena.
    cdef int c_frame(self, int variant, Frame* out) except -1
    # The same in memory of its own, which the caller frees: for what is kept.
    cdef int c_frame_apart(self, int variant, Frame* out) except -1
    cdef int c_message(self, int variant, const char* payload, Py_ssize_t size, Frame* out) except -1
    # Any payload as one frame in the arena; compressed if it is large enough.
    cdef int c_frame_of(self, int opcode, int compression, const char* payload, Py_ssize_t size, Frame* out) except -1
    cdef int c_deliver(self, Sink sink, Frame frame) except -1
    # Bytes that are no frame: the answer to an upgrade request.
    cdef int c_deliver_raw(self, Sink sink, const char* data, Py_ssize_t size) except -1
    cdef int c_add_unwritten(self, Sink sink) except -1
    # Counts an update; for the latency histogram, that `deliveries` carry what happened at `ts_us`.
    cdef int c_note_update(self, uint64_t ts_us, uint64_t deliveries) except -1
    # Frees memory that deliveries may still point to, once they are written.
    cdef int c_free_later(self, void* memory) except -1
    # Writes what is linked to one sink so far.
    cdef int c_write_one(self, Sink sink) except -1
    # Writes everything.
    cdef int c_write(self) except -1
    cdef Py_ssize_t c_write_batch(self, Py_ssize_t start) except -1
    cdef void c_add_job(self, Sink sink, Py_ssize_t job, Py_ssize_t* room) noexcept
    cdef int c_write_jobs(self, Py_ssize_t jobs) except -1
    cdef void c_release(self, Py_ssize_t start, Py_ssize_t end) noexcept
    # A flush begins and ends: updates noted in between are timed at its end. `flush`: it counts in flush_us.
    cdef void c_begin(self) noexcept
    cdef void c_end(self, bint flush) noexcept
    cdef dict c_figures(self)
    cdef void c_free_retired(self) noexcept


cdef inline void prefetch_sink(PyObject* sink) noexcept:
    """The part of it that a delivery touches: a fifth off a flush to 10,000 sinks, half off one to 50,000."""
    prefetch(sink)
    prefetch(&(<Sink>sink).pending)


cdef inline int link_frame(Outbox out, Sink sink, const Frame* frame) except -1:
    """Links a frame to a sink."""
    cdef Delivery* delivery = sink.last
    check(delivery == NULL or delivery.next == NULL)
    check((delivery == NULL) == (sink.first == NULL))
    sink.pending += frame.size
    if delivery != NULL and delivery.data + delivery.size == frame.data:
        delivery.size += frame.size         # side by side in the arena: still one run of bytes
        return 0
    delivery = <Delivery*>arena_take(&out.deliveries, sizeof(Delivery), 8)
    delivery.data = frame.data
    delivery.size = frame.size
    delivery.next = NULL
    if sink.last == NULL:
        out.c_add_unwritten(sink)
        sink.first = delivery
    else:
        sink.last.next = delivery
    sink.last = delivery
    return 0
