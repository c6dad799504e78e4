"""Decoder of what feeds publish: MessagePack values of one stream, one or more back to back, straight into C.

Nothing is read past the end of a payload, and nothing is allocated that the payload's size does not bound. What the contract
does not allow raises PayloadError, which names the stream, the value, the field and the byte.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._core.levels cimport Levels
from mdstream._core.trades cimport Trade

cdef struct Cursor:
    const uint8_t* start
    const uint8_t* at
    const uint8_t* end
    Py_ssize_t value            # index of the value being read
    PyObject* name              # borrowed; whose payload it is, for errors

cdef struct BookUpdate:         # of stream book; of stream snap with first = last = its seq. Zeroed, it is ready for use
    uint64_t epoch
    uint64_t first
    uint64_t last
    uint64_t ts_us
    Levels bids
    Levels asks

# `name` (an instrument, or a word) must outlive the cursor.
cdef void cursor_open(Cursor* cursor, str name, const char* payload, Py_ssize_t size) noexcept
# Reads the next value: 1, or 0 at the end. An empty payload is refused. Order and crossing of levels are for the book to judge.
cdef int next_book(Cursor* cursor, BookUpdate* out) except -1
cdef int next_snap(Cursor* cursor, BookUpdate* out) except -1
cdef int next_trade(Cursor* cursor, uint64_t* epoch, Trade* out) except -1
