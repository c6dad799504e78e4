"""Loops for benchmarks: they call the encoders and the checksum as the gateway does, without Python between two calls."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from mdstream._core.base.buffer cimport Buffer, buffer_free
from mdstream._core.orderbook.checksum cimport levels_crc
from mdstream._core.codec.encode cimport ENCODERS
from mdstream._core.codec.message cimport REASON_SUBSCRIBE, Head, Scale
from mdstream._core.orderbook.levels cimport Levels, levels_free, levels_from_object

cdef uint64_t FIRST_SEQ = 1_234_567
cdef uint64_t FIRST_TS_US = 1_753_000_001_234_567

cdef struct Message:
    Levels bids
    Levels asks


cdef inline void advance(Head* head) noexcept nogil:
    head.first += 1
    head.seq += 1
    head.ts_us += 1


cdef class Messages:
    """Views or changes, ``[(bids, asks), …]`` with flat levels, to encode one after the other."""
    cdef Message* messages
    cdef Py_ssize_t count
    cdef Buffer out

    def __cinit__(self, pairs):
        cdef Py_ssize_t i
        self.messages = <Message*>calloc(len(pairs), sizeof(Message))
        if self.messages == NULL:
            raise MemoryError(f"no memory for {len(pairs)} messages")
        self.count = len(pairs)
        for i in range(self.count):
            levels_from_object(&self.messages[i].bids, pairs[i][0])
            levels_from_object(&self.messages[i].asks, pairs[i][1])

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            levels_free(&self.messages[i].bids)
            levels_free(&self.messages[i].asks)
        free(self.messages)
        buffer_free(&self.out)

    def deltas(self, int format, int price_exp, int size_exp, Py_ssize_t rounds):
        """Encodes each as a delta, ``rounds`` times; returns the bytes written."""
        return self.encode(False, format, Scale(price_exp, size_exp), rounds)

    def snapshots(self, int format, int price_exp, int size_exp, Py_ssize_t rounds):
        """The same as snapshots."""
        return self.encode(True, format, Scale(price_exp, size_exp), rounds)

    cdef Py_ssize_t encode(self, bint whole, int format, Scale scale, Py_ssize_t rounds) except -1:
        cdef Head head = Head(7, FIRST_TS_US, FIRST_SEQ, FIRST_SEQ, FIRST_TS_US, scale)
        cdef Message* message
        cdef Py_ssize_t i, size = 0
        for _ in range(rounds):
            for i in range(self.count):
                message = &self.messages[i]
                self.out.size = 0
                if whole:
                    ENCODERS[format].snapshot(&self.out, &head, &message.bids, &message.asks, 0xDEADBEEF, REASON_SUBSCRIBE)
                else:
                    ENCODERS[format].delta(&self.out, &head, &message.bids, &message.asks, 0xDEADBEEF)
                advance(&head)
                size += self.out.size
        return size

    def checksums(self, Py_ssize_t rounds):
        """Computes all checksums, ``rounds`` times; returns them in one number."""
        cdef uint32_t combined = 0
        cdef Py_ssize_t i
        for _ in range(rounds):
            for i in range(self.count):
                combined ^= levels_crc(&self.messages[i].bids, &self.messages[i].asks)
        return combined
