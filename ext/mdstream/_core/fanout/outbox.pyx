from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject

from mdstream._core.base.arena cimport arena_free, arena_reset, arena_take
from mdstream._core.base.check cimport check
from mdstream._core.base.buffer cimport buffer_free
from mdstream._core.base.clock cimport monotonic_us
from mdstream._core.base.digits cimport count_high_zeros
from mdstream._core.codec.variant cimport PLAIN, format_of, compression_of
from mdstream._core.orderbook.levels cimport levels_free
from mdstream._core.fanout.sink cimport Delivery
from mdstream._core.websocket.frame cimport OP_BINARY, OP_TEXT, RSV1, header_size, put_header

cdef enum:
    JOIN_SPACE = 1 << 16        # bytes
    JOIN_MOST = 1 << 14         # bytes for one sink; more are written from where they lie
    SCRATCH_KEEP = 1 << 20      # bytes; a larger scratch buffer is given back
    MAX_SUMMED_US = 1 << 30     # 18 minutes


cdef Py_ssize_t bucket(uint64_t us) noexcept nogil:
    """The histogram bucket i with us < 2**i."""
    return min(64 - count_high_zeros(us) if us else 0, BUCKETS - 1)


cdef int grow(void** items, Py_ssize_t* capacity, Py_ssize_t count, size_t size) except -1:
    """Room for one more item of `size` bytes."""
    cdef Py_ssize_t larger
    cdef void* moved
    if count < capacity[0]:
        return 0
    larger = capacity[0] * 2 if capacity[0] else 64
    moved = realloc(items[0], larger * size)
    if moved == NULL:
        raise MemoryError(f"no memory for {larger} deliveries")
    items[0] = moved
    capacity[0] = larger
    return 0


cdef void join(char* at, const Delivery* first) noexcept nogil:
    while first != NULL:
        memcpy(at, first.data, first.size)
        at += first.size
        first = first.next


cdef bint deliveries_agree(Sink sink) noexcept:
    """None is empty, they end with `last`, and make up the pending bytes."""
    cdef const Delivery* delivery = sink.first
    cdef const Delivery* last = NULL
    cdef Py_ssize_t size = 0
    while delivery != NULL:
        if delivery.data == NULL or delivery.size <= 0:
            return False
        size += delivery.size
        last = delivery
        delivery = delivery.next
    return size == sink.pending and last == sink.last


cdef const Delivery* take_deliveries(Sink sink) noexcept:
    """Those linked to the sink, which has none from here on."""
    cdef const Delivery* first = sink.first
    check(deliveries_agree(sink))
    sink.first = NULL
    sink.last = NULL
    sink.pending = 0
    return first


cdef inline void put_frame(char* data, int opcode, const char* payload, Py_ssize_t size) noexcept nogil:
    put_header(data, opcode, size)
    if size:                    # a ping has no payload
        memcpy(data + header_size(size), payload, size)


cdef class Outbox:
    def __cinit__(self) -> None:
        self.filled = []
        self.arrived = []
        self.joined = <char*>malloc(JOIN_SPACE)
        if self.joined == NULL:
            raise MemoryError("no memory for an outbox")

    def __dealloc__(self) -> None:
        self.c_release(0, self.n_unwritten)
        self.c_free_retired()
        free(self.joined)
        free(self.unwritten)
        free(self.sent)
        free(self.retired)
        arena_free(&self.frames)
        arena_free(&self.deliveries)
        buffer_free(&self.scratch)
        levels_free(&self.bids)
        levels_free(&self.asks)
        levels_free(&self.other_bids)
        levels_free(&self.other_asks)

    cdef int c_frame(self, int variant, Frame* out) except -1:
        cdef Py_ssize_t size = self.scratch.size
        self.scratch.size = 0
        return self.c_message(variant, self.scratch.data, size, out)

    cdef int c_message(self, int variant, const char* payload, Py_ssize_t size, Frame* out) except -1:
        cdef int opcode = OP_TEXT if format_of(variant) == 0 else OP_BINARY
        return self.c_frame_of(opcode, compression_of(variant), payload, size, out)

    cdef int c_frame_of(self, int opcode, int compression, const char* payload, Py_ssize_t size, Frame* out) except -1:
        cdef bytes compressed = None if compression == PLAIN else self.deflater.c_compress(compression, payload, size, &size)
        if compressed is not None:
            payload = compressed
            opcode |= RSV1
        out.size = header_size(size) + size
        out.data = <char*>arena_take(&self.frames, out.size, 1)
        put_frame(<char*>out.data, opcode, payload, size)
        return 0

    cdef int c_frame_apart(self, int variant, Frame* out) except -1:
        cdef int opcode = OP_TEXT if format_of(variant) == 0 else OP_BINARY
        cdef int compression = compression_of(variant)
        cdef const char* payload = self.scratch.data
        cdef Py_ssize_t size = self.scratch.size
        cdef bytes compressed = None if compression == PLAIN else self.deflater.c_compress(compression, payload, size, &size)
        self.scratch.size = 0
        if compressed is not None:
            payload = compressed
            opcode |= RSV1
        out.size = header_size(size) + size
        out.data = <char*>malloc(out.size)
        if out.data == NULL:
            raise MemoryError(f"no memory for a frame of {out.size} bytes")
        put_frame(<char*>out.data, opcode, payload, size)
        return 0

    cdef int c_deliver(self, Sink sink, Frame frame) except -1:
        self.counters.deliveries += 1
        return link_frame(self, sink, &frame)

    cdef int c_add_unwritten(self, Sink sink) except -1:
        if self.n_unwritten == self.unwritten_capacity:
            grow(<void**>&self.unwritten, &self.unwritten_capacity, self.n_unwritten, sizeof(PyObject*))
        Py_INCREF(sink)
        self.unwritten[self.n_unwritten] = <PyObject*>sink
        self.n_unwritten += 1
        return 0

    cdef int c_deliver_raw(self, Sink sink, const char* data, Py_ssize_t size) except -1:
        cdef Frame raw
        raw.data = <char*>arena_take(&self.frames, size, 1)
        raw.size = size
        memcpy(<char*>raw.data, data, size)
        self.counters.deliveries -= 1
        return self.c_deliver(sink, raw)

    cdef int c_note_update(self, uint64_t ts_us, uint64_t deliveries) except -1:
        self.counters.updates += 1
        if not deliveries or not self.timing:
            return 0
        grow(<void**>&self.sent, &self.sent_capacity, self.n_sent, sizeof(Sent))
        self.sent[self.n_sent].ts_us = ts_us
        self.sent[self.n_sent].deliveries = deliveries
        self.n_sent += 1
        return 0

    cdef int c_free_later(self, void* memory) except -1:
        if memory == NULL:
            return 0
        if self.n_unwritten == 0:
            free(memory)
            return 0
        grow(<void**>&self.retired, &self.retired_capacity, self.n_retired, sizeof(void*))
        self.retired[self.n_retired] = memory
        self.n_retired += 1
        return 0

    cdef void c_free_retired(self) noexcept:
        cdef Py_ssize_t i
        for i in range(self.n_retired):
            free(self.retired[i])
        self.n_retired = 0

    cdef int c_write_one(self, Sink sink) except -1:
        cdef Py_ssize_t size = sink.pending
        cdef const Delivery* first = take_deliveries(sink)
        if first == NULL:
            return 0
        if sink.closed:
            return 0
        self.counters.writes += 1
        self.counters.bytes += size
        if sink.c_write(first, size) and not sink.closed:
            self.filled.append(sink)
        return 0

    cdef int c_write(self) except -1:
        cdef Py_ssize_t i = 0
        while i < self.n_unwritten:           # a write may link frames to further sinks: what it closes or unblocks
            i = self.c_write_batch(i)
        self.n_unwritten = 0
        self.c_free_retired()
        arena_reset(&self.frames)
        arena_reset(&self.deliveries)
        if self.scratch.capacity > SCRATCH_KEEP:
            buffer_free(&self.scratch)
        return 0

    cdef Py_ssize_t c_write_batch(self, Py_ssize_t start) except -1:
        """Writes to the next sinks: by the sender to as many as a batch holds, to others one by one."""
        cdef Py_ssize_t i = start
        cdef Py_ssize_t jobs = 0
        cdef Py_ssize_t room = JOIN_SPACE
        cdef Sink sink
        while i < self.n_unwritten and jobs < BATCH:
            if i + PREFETCH_AHEAD < self.n_unwritten:
                prefetch_sink(self.unwritten[i + PREFETCH_AHEAD])
            if self.unwritten[i] == NULL:     # released before an earlier round failed
                i += 1
                continue
            sink = <Sink>self.unwritten[i]
            if self.sender is None or sink.fd < 0 or sink.blocked or sink.closed or sink.pending > JOIN_MOST:
                self.c_write_one(sink)
            elif sink.first != NULL:
                if sink.first.next != NULL and sink.pending > room:
                    break
                self.c_add_job(sink, jobs, &room)
                jobs += 1
            i += 1
        self.c_write_jobs(jobs)
        self.c_release(start, i)
        return i

    cdef void c_add_job(self, Sink sink, Py_ssize_t job, Py_ssize_t* room) noexcept:
        """Takes all that is linked to the sink, in one piece."""
        cdef Py_ssize_t size = sink.pending
        cdef const Delivery* first = take_deliveries(sink)
        cdef const char* data = first.data
        if first.next != NULL:
            data = self.joined + JOIN_SPACE - room[0]
            join(<char*>data, first)
            room[0] -= size
        self.written[job] = Written(<PyObject*>sink, first)
        self.jobs[job] = Job(sink.fd, data, size, 0)

    cdef int c_write_jobs(self, Py_ssize_t jobs) except -1:
        """Writes the jobs. What a socket did not take goes back to its sink."""
        cdef Py_ssize_t i
        cdef Job* job
        cdef Sink sink
        if jobs:
            self.sender.c_send(self.jobs, jobs)
        self.counters.writes += jobs
        for i in range(jobs):
            job = &self.jobs[i]
            check(job.sent <= job.size)
            self.counters.bytes += job.size
            if job.sent != job.size:
                sink = <Sink>self.written[i].sink
                if sink.c_unsent(self.written[i].first, job.size, job.sent) and not sink.closed:
                    self.filled.append(sink)
        return 0

    cdef void c_release(self, Py_ssize_t start, Py_ssize_t end) noexcept:
        cdef Py_ssize_t i
        cdef PyObject* sink
        for i in range(start, end):
            sink, self.unwritten[i] = self.unwritten[i], NULL
            Py_XDECREF(sink)

    # ---- figures

    cdef void c_begin(self) noexcept:
        self.timing = True
        self.began_us = monotonic_us()

    cdef void c_end(self, bint flush) noexcept:
        cdef uint64_t took_us = monotonic_us() - self.began_us
        cdef uint64_t written_us = self.wall_us + took_us
        cdef Py_ssize_t i
        cdef uint64_t age_us
        for i in range(self.n_sent):
            age_us = written_us - self.sent[i].ts_us if written_us > self.sent[i].ts_us else 0
            self.counters.latency_us[bucket(age_us)] += self.sent[i].deliveries
            # Old data replayed is decades of microseconds old: bounded, so that the sum stays far from 2**64.
            self.counters.latency_total_us += min(age_us, <uint64_t>MAX_SUMMED_US) * self.sent[i].deliveries
        check(self.n_sent == 0 or self.timing)
        self.n_sent = 0
        self.timing = False
        if flush:
            self.counters.flush_us[bucket(took_us)] += 1
            self.counters.flush_total_us += took_us

    cdef dict c_figures(self):
        cdef Counters* counters = &self.counters
        return {
            "updates": counters.updates,
            "deliveries": counters.deliveries,
            "bytes": counters.bytes,
            "writes": counters.writes,
            "snapshots": counters.snapshots,
            "deltas": counters.deltas,
            "heartbeats": counters.heartbeats,
            "recover_delta": counters.recover_delta,
            "recover_snapshot": counters.recover_snapshot,
            "recover_trades": counters.recover_trades,
            "recover_lost": counters.recover_lost,
            "conflated": counters.conflated,
            "too_slow": counters.too_slow,
            "compressed": self.deflater.messages,
            "compressed_bytes_in": self.deflater.bytes_in,
            "compressed_bytes_out": self.deflater.bytes_out,
            "flush_us": [counters.flush_us[i] for i in range(BUCKETS)],
            "latency_us": [counters.latency_us[i] for i in range(BUCKETS)],
            "flush_total_us": counters.flush_total_us,
            "latency_total_us": counters.latency_total_us,
        }
