"""The floor's only thought: an update of the bus as one ready frame for all who want it. No I/O."""

from libc.stdint cimport uint8_t, uint64_t

from mdstream._bench.message cimport Slice
from mdstream._bench.orders cimport Format
from mdstream._core.base.buffer cimport Buffer
from mdstream._core.codec.msgpack_reader cimport Cursor

cdef struct Update:             # of the stream book
    uint64_t epoch
    uint64_t first
    uint64_t last
    uint64_t ts_us
    Slice bids                  # as packed
    Slice asks

# The next update of a payload: 1, 0 at its end, -1 if it is none of the contract's.
cdef int relay_next(Cursor* payload, Update* out) noexcept nogil
# Appends it as one whole `delta` frame; where that begins in `out`.
cdef Py_ssize_t relay_frame(Buffer* out, Format format, uint64_t sub, const Update* update, int price_exp, int size_exp) except -1 nogil
