"""Decodes the payloads of a feed: one or more MessagePack values of one stream, into C structs.

Nothing is read past the end of a payload; its size bounds what is allocated. PayloadError, for all that the contract does not
allow, names the stream, the value, the field and the byte.
"""

from libc.stdint cimport uint8_t, uint64_t

from mdstream._core.codec.msgpack_reader cimport Cursor
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade

cdef struct BookUpdate:         # of stream book, or of stream snap with first = last = seq. Zeroed: ready for use
    uint64_t epoch
    uint64_t first
    uint64_t last
    uint64_t ts_us
    Levels bids
    Levels asks

# Read the next value: 1, or 0 at the end. An empty payload is refused. The book checks the order of levels and crossing.
cdef int next_book(Cursor* cursor, BookUpdate* out) except -1
cdef int next_snap(Cursor* cursor, BookUpdate* out) except -1
# Epoch and seq of a snap, from its first bytes; False if it is none: next_snap says why.
cdef bint snap_head(const char* payload, Py_ssize_t size, uint64_t* epoch, uint64_t* seq) noexcept
cdef int next_trade(Cursor* cursor, uint64_t* epoch, Trade* out) except -1


cdef inline const uint8_t* past_number(const uint8_t* at) noexcept nogil:
    """The end of the number that begins here, if one does."""
    return at + (1 + (1 << (at[0] & 3)) if 0xCC <= at[0] <= 0xD3 else 1)


cdef inline void sides_touched(const char* payload, Py_ssize_t size, bint* bids, bint* asks) noexcept nogil:
    """Guesses from the first bytes, without a check, which sides an update of a single level changes; both, for any other payload.
    For prefetching only."""
    cdef const uint8_t* at = <const uint8_t*> payload
    bids[0] = asks[0] = True
    if not 40 <= size <= 64 or at[0] != 0x97:       # the reads below stay within 2 + 4 × 9 bytes
        return
    at = past_number(past_number(past_number(past_number(at + 2))))     # epoch, first, last, ts
    if at[0] == 0x90:       # no bids
        bids[0] = False
    elif at[0] == 0x92:     # one bid; so few bytes hold hardly any asks
        asks[0] = False
