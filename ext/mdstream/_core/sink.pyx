"""Sinks: the base that topics and hub know, and one in memory for tests and benchmarks."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc

from mdstream._core.deflate cimport unpack
from mdstream._core.form cimport DEFLATE, DEFLATE_NARROW, LEAST_WINDOW_BITS, MOST_WINDOW_BITS, PLAIN, form_with
from mdstream._core.sender cimport Job, Sender
from mdstream._core.wsframe cimport RSV1, frame_payload

cdef enum:
    UNPACKED_MAX = 1 << 30


cdef class Sink:
    def __init__(self, format: int, window_bits: int = 0) -> None:
        if format not in (0, 1):
            raise ValueError(f"format is {format!r}; it must be 0 (JSON) or 1 (MessagePack)")
        if window_bits and not LEAST_WINDOW_BITS <= window_bits <= MOST_WINDOW_BITS:
            raise ValueError(f"window_bits is {window_bits}; it must be 0 (uncompressed) or 9 to 15")
        packing = PLAIN if not window_bits else DEFLATE if window_bits == MOST_WINDOW_BITS else DEFLATE_NARROW
        self.fd = -1
        self.format = format
        self.form = form_with(format, packing)

    def __dealloc__(self) -> None:
        free(self.places)

    @property
    def subscriptions(self) -> int:
        return self.n_places

    @property
    def subscription_bytes(self) -> int:
        return self.places_capacity * sizeof(Place)

    def topics(self) -> list:
        return [<object>self.places[i].topic for i in range(self.n_places)]

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        hub, self.hub = self.hub, None
        if hub is not None:
            hub.detach(self)

    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept:
        return False

    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept:
        return False

    cdef int c_end(self, int code, str reason) except -1:
        self.close()
        return 0

    cdef int c_add_place(self, PyObject* topic, uint32_t index) except -1:
        cdef uint32_t capacity
        cdef Place* places
        if self.n_places == self.places_capacity:
            capacity = next_capacity(self.places_capacity)
            places = <Place*>realloc(self.places, capacity * sizeof(Place))
            if places == NULL:
                raise MemoryError(f"no memory for {capacity} subscriptions")
            self.places = places
            self.places_capacity = capacity
        self.places[self.n_places].topic = topic
        self.places[self.n_places].index = index
        self.n_places += 1
        return 0

    cdef void c_remove_place(self, Py_ssize_t place) noexcept:
        cdef uint32_t capacity
        cdef Place* places
        self.n_places -= 1
        self.places[place] = self.places[self.n_places]
        capacity = fit_capacity(self.places_capacity, self.n_places)
        if capacity == 0:
            free(self.places)
            self.places = NULL
            self.places_capacity = 0
        elif capacity < self.places_capacity:
            places = <Place*>realloc(self.places, capacity * sizeof(Place))
            if places != NULL:
                self.places = places
                self.places_capacity = capacity

    cdef Py_ssize_t c_find(self, PyObject* topic) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n_places):
            if self.places[i].topic == topic:
                return i
        return -1


cdef class MemorySink(Sink):
    def __init__(self, format: int, room: int = -1, *, keep: bool = True, window_bits: int = 0) -> None:
        Sink.__init__(self, format, window_bits)
        self.room = room
        self.keep = keep
        self.kept = []

    def take(self) -> list:
        taken, self.kept = self.kept, []
        return taken

    def drain(self, room: int = -1) -> None:
        self.room = room
        if self.blocked and self.hub is not None:
            self.hub.drained(self)

    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept:
        self.writes += 1
        self.bytes_written += size
        if self.keep:
            self.c_keep(first)
        if self.room >= 0:
            self.room = self.room - size if self.room > size else 0
            return self.room == 0
        return False

    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept:
        return self.c_write(first, size)        # the sender left all of it to us

    cdef int c_keep(self, const Delivery* first) except -1:
        """Cuts the deliveries, runs of whole frames, into payloads, and unpacks them."""
        cdef const char* at
        cdef const char* end
        cdef const char* payload
        cdef Py_ssize_t size = 0
        cdef int violation = 0
        while first != NULL:
            at = first.data
            end = at + first.size
            while at < end:
                payload = frame_payload(at, &size)
                if at[0] & RSV1:
                    self.packed += 1
                    self.kept.append(unpack(payload, size, UNPACKED_MAX, &violation))
                else:
                    self.kept.append(PyBytes_FromStringAndSize(payload, size))
                at = payload + size
            first = first.next
        return 0

    cdef int c_end(self, int code, str reason) except -1:
        self.close_code = code
        self.close()
        return 0


cdef class MemorySender(Sender):
    def __init__(self) -> None:
        self.sinks = []

    def add(self, sink: MemorySink) -> None:
        sink.fd = len(self.sinks)
        self.sinks.append(sink)

    cdef void c_send(self, Job* jobs, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
        cdef MemorySink sink
        cdef Delivery run
        self.calls += 1
        self.jobs += count
        for i in range(count):
            sink = self.sinks[jobs[i].fd]
            if 0 <= sink.room < jobs[i].size:
                jobs[i].sent = sink.room
                continue
            run = Delivery(jobs[i].data, jobs[i].size, NULL)
            sink.c_write(&run, run.size)
            jobs[i].sent = run.size
