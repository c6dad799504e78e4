"""Takes the messages of known subscriptions out of what a NATS server sends; all else is passed on as it came.

``get_buffer`` and ``buffer_updated`` are those of ``asyncio.BufferedProtocol``: the transport reads into the scanner's own
buffer, so that nothing is copied between the socket and the handlers. No I/O happens here.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory

from mdstream._core.ingest.nats_scanner import ScanError

cdef enum:
    READ_LEAST = 1 << 17        # free bytes offered for each read; the buffer is about twice as large


cdef class NatsTap:
    """Drive it as an ``asyncio.BufferedProtocol``. What it holds is bounded: one message and what was read with it."""

    def __init__(self, handlers not None, dict counters not None, pass_on not None, on_fault not None,
                 FlushScheduler scheduler=None):
        """``counters``: ``count`` adds what handlers took to its ``in_msgs`` and ``in_bytes``. ``pass_on`` is given every other
        operation, whole; after something that is not the NATS protocol, all there is from there on. ``on_fault`` is given what
        a handler raised. ``scheduler`` is told of the end of each read."""
        self.scanner = NatsScanner(handlers)
        self.counters = counters
        self.pass_on = pass_on
        self.on_fault = on_fault
        self.scheduler = scheduler

    @property
    def capacity(self):
        """Bytes allocated for reading."""
        return self.scanner.allocated

    def feed(self, bytes data not None):
        """Takes what was read before."""
        self.scanner.c_feed(data)
        self.c_sift()

    def count(self):
        """Adds what handlers took since the last call to ``counters``. A read does not: it would make four objects."""
        cdef NatsScanner scanner = self.scanner
        self.counters["in_msgs"] += scanner.messages
        self.counters["in_bytes"] += scanner.payload_bytes
        scanner.messages = scanner.payload_bytes = 0

    def get_buffer(self, sizehint):
        """Where the transport reads to; valid until ``buffer_updated``."""
        cdef NatsScanner scanner = self.scanner
        scanner.c_give_back()
        scanner.c_reserve(READ_LEAST)
        if self.space_at != scanner.data + scanner.size or self.space_size != scanner.allocated - scanner.size:
            self.space_at, self.space_size = scanner.data + scanner.size, scanner.allocated - scanner.size
            self.space = PyMemoryView_FromMemory(self.space_at, self.space_size, PyBUF_WRITE)
        return self.space

    def buffer_updated(self, Py_ssize_t nbytes):
        """So many bytes were read. Raises ValueError for more than there was room."""
        if not 0 <= nbytes <= self.space_size:
            raise ValueError(f"{nbytes} bytes were read into a buffer of {self.space_size}")
        self.scanner.size += nbytes
        if self.scheduler is None:
            self.c_sift()
            return
        self.scheduler.reading = True
        try:
            self.c_sift()
        finally:            # what was taken waits for it
            self.scheduler.c_read_ended(nbytes == self.space_size)

    cdef int c_sift(self) except -1:
        cdef Py_ssize_t size
        while not self.given_up:
            try:
                size = self.scanner.c_run()
            except ScanError as error:
                self.given_up = True
                self.on_fault(error)
                break
            except Exception as error:
                self.on_fault(error)
                continue
            if size == 0:
                return 0
            self.c_pass(size)
        return self.c_pass(self.scanner.size - self.scanner.position)

    cdef int c_pass(self, Py_ssize_t size) except -1:
        cdef NatsScanner scanner = self.scanner
        if size:
            scanner.position += size
            self.pass_on(PyBytes_FromStringAndSize(scanner.data + scanner.position - size, size))
        return 0
