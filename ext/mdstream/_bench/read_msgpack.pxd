"""The contract's MessagePack as a client reads it."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._bench.message cimport Message, Slice
from mdstream._core.codec.msgpack_reader cimport Cursor
from mdstream._core.orderbook.levels cimport Levels

# The next value of a WebSocket message into `out`: 1, 0 at the end, -1 if it is no value of the contract.
cdef int msgpack_next(Cursor* cursor, Message* out) noexcept nogil
# The levels of a slice: 1, or 0 if they are no flat list of pairs.
cdef int msgpack_levels(const Slice* flat, Levels* out) except -1 nogil
# How many numbers [sub, seq, …] a heartbeat holds, -1 if it is no list; then each in turn.
cdef Py_ssize_t msgpack_list(Cursor* cursor) noexcept nogil
cdef bint msgpack_number(Cursor* cursor, int64_t* out) noexcept nogil
cdef void slice_cursor(const Slice* slice, Cursor* cursor) noexcept nogil
# Steps over one value of any form.
cdef bint msgpack_skip(Cursor* cursor) noexcept nogil
# A map's or an array's head, by the fix form's byte (0x80 or 0x90) and the wide form's (0xDE, 0xDC); -1: no such head.
cdef Py_ssize_t msgpack_head(Cursor* cursor, uint8_t fix, uint8_t wide) noexcept nogil
cdef bint msgpack_text(Cursor* cursor, Slice* out) noexcept nogil
# Whether the trades are numbered first..last; when the last of them was.
cdef bint msgpack_trades(const Slice* rows, uint64_t first, uint64_t last, uint64_t* ts_us) noexcept nogil
