"""Frames on their way: encoded once, linked to each sink that is due them, written once per touched sink."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from cpython.ref cimport PyObject

from mdstream._core.base.arena cimport Arena, arena_take
from mdstream._core.base.buffer cimport Buffer
from mdstream._core.codec.deflate cimport Deflater
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.base.prefetch cimport prefetch
from mdstream._core.fanout.sender cimport BATCH, Job, Sender
from mdstream._core.fanout.sink cimport Delivery, Sink

cdef enum:
    BUCKETS = 32
    SOON = 8                    # sinks: how far ahead of its use one is fetched into the cache

cdef struct Written:            # a job's sink, and all of what it is due
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
    cdef uint64_t now_us
    cdef uint32_t corks
    cdef bint timing
    cdef uint64_t began_us      # monotonic
    cdef Deflater deflater
    cdef Sender sender          # or None: each sink writes for itself
    cdef Job[BATCH] jobs
    cdef Written[BATCH] written     # what they are for
    cdef char* joined           # what is in pieces, in one piece
    cdef list filled            # sinks that the last writes found unwilling to take more; for the hub
    # scratch space for topics
    cdef Buffer scratch
    cdef Levels bids
    cdef Levels asks
    cdef Levels other_bids
    cdef Levels other_asks
    cdef Arena frames
    cdef Arena deliveries
    cdef PyObject** touched
    cdef Py_ssize_t n_touched
    cdef Py_ssize_t touched_capacity
    cdef Sent* sent
    cdef Py_ssize_t n_sent
    cdef Py_ssize_t sent_capacity
    cdef void** retired
    cdef Py_ssize_t n_retired
    cdef Py_ssize_t retired_capacity

    # The payload in `scratch` (emptied by this) as one frame of a variant in the arena.
    cdef int c_frame(self, int variant, Frame* out) except -1
    cdef int c_message(self, int variant, const char* payload, Py_ssize_t size, Frame* out) except -1
    # Any payload as one frame in the arena; compressed if it is large enough.
    cdef int c_frame_of(self, int opcode, int compression, const char* payload, Py_ssize_t size, Frame* out) except -1
    cdef int c_deliver(self, Sink sink, Frame frame) except -1
    # What goes before the first frame of a connection: the answer to its upgrade request.
    cdef int c_answer(self, Sink sink, const char* data, Py_ssize_t size) except -1
    cdef int c_touch(self, Sink sink) except -1
    # Remembers for the latency histogram that `deliveries` carry what happened at `ts_us`.
    cdef int c_note(self, uint64_t ts_us, uint64_t deliveries) except -1
    # Frees memory that deliveries may still point to, once they are written.
    cdef int c_retire(self, void* memory) except -1
    # What the sink is due so far, now.
    cdef int c_write_one(self, Sink sink) except -1
    # All that is due.
    cdef int c_write(self) except -1
    cdef Py_ssize_t c_write_batch(self, Py_ssize_t start) except -1
    cdef void c_job(self, Sink sink, Py_ssize_t job, Py_ssize_t* room) noexcept
    cdef int c_settle(self, Py_ssize_t jobs) except -1
    cdef void c_let_go(self, Py_ssize_t start, Py_ssize_t end) noexcept
    # A flush begins and ends; in between updates are noted, and at the end timed. `flush`: counts in flush_us.
    cdef void c_begin(self) noexcept
    cdef void c_end(self, bint flush) noexcept
    cdef dict c_figures(self)
    cdef void c_free_retired(self) noexcept


cdef inline void prefetch_sink(const PyObject* sink) noexcept nogil:
    """What a delivery touches of it."""
    prefetch(sink)
    prefetch(<const char*>sink + 63)


cdef inline int hand(Outbox out, Sink sink, const Frame* frame) except -1:
    """Links a frame to a sink."""
    cdef Delivery* delivery = sink.last
    sink.pending += frame.size
    if delivery != NULL and delivery.data + delivery.size == frame.data:
        delivery.size += frame.size         # side by side in the arena: still one run of bytes
        return 0
    delivery = <Delivery*>arena_take(&out.deliveries, sizeof(Delivery), 8)
    delivery.data = frame.data
    delivery.size = frame.size
    delivery.next = NULL
    if sink.last == NULL:
        out.c_touch(sink)
        sink.first = delivery
    else:
        sink.last.next = delivery
    sink.last = delivery
    return 0
