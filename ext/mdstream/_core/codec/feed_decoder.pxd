"""Decoder of what feeds publish: MessagePack values of one stream, one or more back to back, straight into C.

Nothing is read past the end of a payload, and nothing is allocated that the payload's size does not bound. What the contract
does not allow raises PayloadError, which names the stream, the value, the field and the byte.
"""

from libc.stdint cimport uint8_t, uint64_t

from mdstream._core.codec.msgpack_reader cimport Cursor
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade

cdef struct BookUpdate:         # of stream book; of stream snap with first = last = its seq. Zeroed, it is ready for use
    uint64_t epoch
    uint64_t first
    uint64_t last
    uint64_t ts_us
    Levels bids
    Levels asks

# Reads the next value: 1, or 0 at the end. An empty payload is refused. Order and crossing of levels are for the book to judge.
cdef int next_book(Cursor* cursor, BookUpdate* out) except -1
cdef int next_snap(Cursor* cursor, BookUpdate* out) except -1
# Epoch and number of a snap, from its head alone; False if that is none, which next_snap can say more of.
cdef bint snap_head(const char* payload, Py_ssize_t size, uint64_t* epoch, uint64_t* seq) noexcept
cdef int next_trade(Cursor* cursor, uint64_t* epoch, Trade* out) except -1


cdef inline const uint8_t* past_number(const uint8_t* at) noexcept nogil:
    """Behind a number, if one begins here."""
    return at + (1 + (1 << (at[0] & 3)) if 0xCC <= at[0] <= 0xD3 else 1)


cdef inline void sides_touched(const char* payload, Py_ssize_t size, bint* bids, bint* asks) noexcept nogil:
    """A guess at which sides an update of a single level changes, from its first bytes and without a check: for prefetching alone.
    Of what is no such update both may be changed."""
    cdef const uint8_t* at = <const uint8_t*> payload
    bids[0] = asks[0] = True
    if not 40 <= size <= 64 or at[0] != 0x97:       # what is read below stands within 2 + 4 × 9 bytes
        return
    at = past_number(past_number(past_number(past_number(at + 2))))     # epoch, first, last, ts
    if at[0] == 0x90:       # no bids
        bids[0] = False
    elif at[0] == 0x92:     # one, which in so few bytes is most likely all
        asks[0] = False
