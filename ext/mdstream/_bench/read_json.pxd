"""Reads the contract's JSON as a client: one object per message, keys in any order."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._bench.message cimport Message, Slice
from mdstream._core.orderbook.levels cimport Levels

cdef struct Text:               # the part that is not read yet
    const uint8_t* at
    const uint8_t* end

# Reads a message: 1, or -1 if it is invalid. Without `whole`, stops in a delta or snapshot once it has the numbers.
cdef int json_message(const uint8_t* at, Py_ssize_t size, bint whole, Message* out) noexcept nogil
# Reads levels [["64123.10","0.5"],…] as ticks and lots: 1, 0 if they are invalid, -2 if they have the wrong number of decimals.
cdef int json_levels(const Slice* rows, int64_t price_exp, int64_t size_exp, Levels* out) except -1 nogil
# Reads the next number of a list, at any depth; False at the end.
cdef bint json_number(Text* text, int64_t* out) noexcept nogil
# For lists of lists: reads one byte of syntax, skips one value.
cdef bint json_expect(Text* text, uint8_t byte) noexcept nogil
cdef bint json_skip(Text* text) noexcept nogil
# Reads a string without its quotes; keeps the escapes.
cdef bint json_string(Text* text, Slice* out) noexcept nogil
# Whether the trades have the numbers first..last; gives the time of the last one.
cdef bint json_trades(const Slice* rows, uint64_t first, uint64_t last, uint64_t* ts_us) noexcept nogil
