"""The fields of a message that a load test needs, the same for both formats. No I/O, no allocation.

Data and control messages share one struct; the readers fill it by position, or by key through ``take_number`` and ``take_text``.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

cdef enum Kind:
    KIND_NONE = 0
    KIND_DELTA
    KIND_SNAPSHOT
    KIND_TRADES
    KIND_TICKER
    KIND_HEARTBEAT
    KIND_WELCOME
    KIND_SUBSCRIBED
    KIND_STATE
    KIND_LOST
    KIND_ERROR
    KIND_DRAIN
    KIND_UNSUBSCRIBED
    KIND_PONG
    KIND_REF
    KINDS

cdef enum Field:                # bits of Message.has
    HAS_TYPE = 1
    HAS_SUB = 2
    HAS_EPOCH = 4
    HAS_FIRST = 8
    HAS_LAST = 16
    HAS_TS = 32
    HAS_BIDS = 64
    HAS_ASKS = 128
    HAS_CRC = 256
    HAS_ROWS = 512
    HAS_OTHER = 1024
    DELTA_HEAD = HAS_TYPE | HAS_SUB | HAS_FIRST | HAS_LAST | HAS_TS
    SNAPSHOT_HEAD = HAS_TYPE | HAS_SUB | HAS_EPOCH | HAS_LAST | HAS_TS
    TRADES_HEAD = HAS_TYPE | HAS_SUB | HAS_EPOCH | HAS_FIRST | HAS_LAST
    BOOK_BODY = HAS_BIDS | HAS_ASKS | HAS_CRC

cdef struct Slice:
    const uint8_t* at
    Py_ssize_t size

cdef struct Message:
    int kind
    int has
    int64_t sub
    uint64_t epoch
    uint64_t first
    uint64_t last               # the seq of a snapshot or ticker
    uint64_t ts_us
    uint64_t crc
    int64_t price_exp
    int64_t size_exp
    int64_t reconnect_after_ms
    bint resumed
    Slice bids
    Slice asks
    Slice rows                  # trades, or the pairs [sub, seq] of a heartbeat
    Slice instrument
    Slice code
    Slice text                  # of an error


cdef inline bint slice_is(const Slice* slice, const char* text, Py_ssize_t size) noexcept nogil:
    return slice.size == size and memcmp(slice.at, text, <size_t>size) == 0


cdef inline uint64_t big_endian(const uint8_t* at, int size) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(size):
        number = number << 8 | at[i]
    return number


# The kind of a `type`; KIND_NONE if it is unknown.
cdef int kind_of(const Slice* type) noexcept nogil
# Stores the value of a key; ignores keys that a load test does not need.
cdef void take_number(Message* message, const Slice* key, int64_t value) noexcept nogil
cdef void take_text(Message* message, const Slice* key, const Slice* value) noexcept nogil
cdef void take_flag(Message* message, const Slice* key, bint value) noexcept nogil
# The same for a list, as bytes of the message.
cdef void take_list(Message* message, const Slice* key, const Slice* value) noexcept nogil
