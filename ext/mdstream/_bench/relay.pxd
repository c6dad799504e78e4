"""Turns an update from the bus into one ready frame for all clients. No I/O."""

from libc.stdint cimport uint8_t, uint64_t

from mdstream._bench.message cimport Slice
from mdstream._bench.orders cimport Format
from mdstream._core.base.buffer cimport Buffer
from mdstream._core.codec.msgpack_reader cimport Cursor

cdef struct Update:             # from a book stream
    uint64_t epoch
    uint64_t first
    uint64_t last
    uint64_t ts_us
    Slice bids                  # as MessagePack
    Slice asks

# Reads the next update of a payload: 1, 0 at the end, -1 if it is not an update of the contract.
cdef int relay_next(Cursor* payload, Update* out) noexcept nogil
# Appends the update as one complete `delta` frame; returns its offset in `out`.
cdef Py_ssize_t relay_frame(Buffer* out, Format format, uint64_t sub, const Update* update, int price_exp, int size_exp) except -1 nogil
