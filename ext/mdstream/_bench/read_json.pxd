"""The contract's JSON as a client reads it: one object a message, its keys in any order."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._bench.message cimport Message, Slice
from mdstream._core.orderbook.levels cimport Levels

cdef struct Text:               # what is being read
    const uint8_t* at
    const uint8_t* end

# The message of a frame: 1, or -1 if it is none. `whole` False leaves the rest of a delta or snapshot alone once its numbers are known.
cdef int json_message(const uint8_t* at, Py_ssize_t size, bint whole, Message* out) noexcept nogil
# Levels [["64123.10","0.5"],…] as ticks and lots: 1, 0 if they are none, -2 if the decimals are not those of the instrument.
cdef int json_levels(const Slice* rows, int64_t price_exp, int64_t size_exp, Levels* out) except -1 nogil
# In turn: the next number of a list, at any depth; False at its end.
cdef bint json_number(Text* text, int64_t* out) noexcept nogil
# For reading lists of lists by hand.
cdef bint json_expect(Text* text, uint8_t byte) noexcept nogil
cdef bint json_skip(Text* text) noexcept nogil
# A string, with its escapes as they stand; without the quotes.
cdef bint json_string(Text* text, Slice* out) noexcept nogil
# Whether the trades are numbered first..last; when the last of them was.
cdef bint json_trades(const Slice* rows, uint64_t first, uint64_t last, uint64_t* ts_us) noexcept nogil
