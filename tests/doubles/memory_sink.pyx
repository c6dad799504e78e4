from cpython.bytes cimport PyBytes_FromStringAndSize

from mdstream._core.codec.deflate cimport decompress
from mdstream._core.fanout.sender cimport Job, Sender
from mdstream._core.fanout.sink cimport Delivery, Sink
from mdstream._core.websocket.frame cimport RSV1, frame_payload

cdef enum:
    DECOMPRESSED_MAX = 1 << 30


cdef class MemorySink(Sink):
    """Keeps what it was given: ``take()`` returns and forgets the payloads, decompressed; ``room`` bytes until it blocks.

    ``end_at_write``: it closes in the middle of that write, as one whose peer has gone. ``keep=False`` only counts. ``window_bits``, 9 to 15: it accepts compressed messages.
    """
    def __init__(self, format: int, room: int = -1, *, keep: bool = True, window_bits: int = 0) -> None:
        Sink.__init__(self, format, window_bits)
        self.room = room
        self.keep = keep
        self.kept = []

    def take(self) -> list:
        taken, self.kept = self.kept, []
        return taken

    def drain(self, room: int = -1) -> None:
        """Takes on, until it is up to date or blocks again."""
        while not self.drain_slice(room):
            room = self.room

    def drain_slice(self, room: int = -1) -> bool:
        """The same for one slice of time; True if there is nothing more to do now."""
        self.room = room
        return self.hub is None or self.hub.drained(self)

    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept:
        self.writes += 1
        self.bytes_written += size
        if self.writes == self.end_at_write:
            self.c_close()
            return False
        if self.keep:
            self.c_keep(first)
        if self.room >= 0:
            self.room = self.room - size if self.room > size else 0
            return self.room == 0
        return False

    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept:
        return self.c_write(first, size)        # the sender left all of it to us

    cdef int c_keep(self, const Delivery* first) except -1:
        """Cuts the deliveries, runs of whole frames, into payloads, and decompresses them."""
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
                    self.compressed += 1
                    self.kept.append(decompress(payload, size, DECOMPRESSED_MAX, &violation))
                else:
                    self.kept.append(PyBytes_FromStringAndSize(payload, size))
                at = payload + size
            first = first.next
        return 0

    cdef void c_close(self) noexcept:
        self.close()

    cdef int c_end(self, int code, str reason) except -1:
        self.close_code = code
        self.close()
        return 0


cdef class MemorySender(Sender):
    """Writes to the memory sinks that were added, as far as they have room; what a sink has not, it is handed back."""
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
