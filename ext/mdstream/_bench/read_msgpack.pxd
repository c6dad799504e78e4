"""Reads the contract's MessagePack as a client."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._bench.message cimport Message, Slice
from mdstream._core.codec.msgpack_reader cimport Cursor
from mdstream._core.orderbook.levels cimport Levels

# Reads the next value of a WebSocket message: 1, 0 at the end, -1 if it is not a value of the contract.
cdef int msgpack_next(Cursor* cursor, Message* out) noexcept nogil
# Reads the levels of a slice: 1, or 0 if they are not a flat list of pairs.
cdef int msgpack_levels(const Slice* flat, Levels* out) except -1 nogil
# The length of a list, -1 if it is not a list; then its numbers one by one.
cdef Py_ssize_t msgpack_list(Cursor* cursor) noexcept nogil
cdef bint msgpack_number(Cursor* cursor, int64_t* out) noexcept nogil
cdef void slice_cursor(const Slice* slice, Cursor* cursor) noexcept nogil
# Skips one value of any type.
cdef bint msgpack_skip(Cursor* cursor) noexcept nogil
# The length of a map or an array, by its first bytes (0x80 and 0xDE, or 0x90 and 0xDC); -1: it is not one.
cdef Py_ssize_t msgpack_head(Cursor* cursor, uint8_t fix, uint8_t wide) noexcept nogil
cdef bint msgpack_text(Cursor* cursor, Slice* out) noexcept nogil
# Skips a list of numbers or of lists; gives its bytes.
cdef bint msgpack_slice(Cursor* cursor, Slice* out) noexcept nogil
# Whether the trades have the numbers first..last; gives the time of the last one.
cdef bint msgpack_trades(const Slice* rows, uint64_t first, uint64_t last, uint64_t* ts_us) noexcept nogil
