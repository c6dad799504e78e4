from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._core.base.check cimport check

cdef enum:
    TRADE_ID_MAX = 128      # bytes of an id in MessagePack: an integer, or a string of up to 126 bytes

cdef struct Trade:
    uint64_t seq
    uint64_t ts_us
    int64_t price_ticks
    int64_t size_lots
    uint8_t side            # 0 unknown, 1 buy (buyer took), 2 sell
    uint8_t id_size
    uint8_t[TRADE_ID_MAX] id    # a MessagePack integer or UTF-8 string in its shortest encoding (ids compare as bytes)

cdef struct TradeId:
    const char* text        # NULL: the id is `number`
    Py_ssize_t size         # bytes of text
    int64_t number
    bint unsigned           # `number` holds an unsigned one

cdef class TradeLog:
    cdef readonly uint64_t epoch
    cdef readonly uint64_t seq          # of the newest trade; 0: none in this epoch
    cdef Trade* ring
    cdef uint64_t size                  # slots of the ring, a power of two; trade n is in slot n % size
    cdef uint64_t kept                  # trades held: seq - kept + 1 .. seq
    cdef uint64_t capacity              # most trades to hold

    cdef int c_append(self, const Trade* trade) except -1          # trade.seq must be seq + 1
    cdef int c_reset(self, uint64_t epoch, uint64_t seq) except -1  # empties the ring; the next trade is seq + 1
    cdef uint64_t c_oldest(self) noexcept nogil                     # seq of the oldest kept; seq + 1 if none
    cdef const Trade* c_get(self, uint64_t seq) noexcept nogil      # NULL if not kept; valid until the next append
    # Bytes of the ids of trades first..last; SequenceError unless all of them are kept.
    cdef Py_ssize_t c_id_bytes(self, uint64_t first, uint64_t last) except -1

# Write a trade's id in its shortest encoding. An integer is given in two's complement, and `negative`; a text is UTF-8 of at
# most TRADE_ID_MAX - 2 bytes.
cdef void trade_set_integer_id(Trade* trade, uint64_t value, bint negative) noexcept nogil
cdef void trade_set_text_id(Trade* trade, const char* text, Py_ssize_t size) noexcept nogil
cdef object trade_id(const Trade* trade)


cdef inline TradeId trade_read_id(const Trade* trade) noexcept nogil:
    cdef const uint8_t* id = &trade.id[0]
    cdef uint8_t first = id[0]
    cdef uint64_t value = 0
    cdef int i, unused
    check(0 < trade.id_size)
    check(trade.id_size <= TRADE_ID_MAX)
    if first & 0xE0 == 0xA0:
        return TradeId(<const char*> id + 1, trade.id_size - 1, 0, False)
    if first == 0xD9:
        return TradeId(<const char*> id + 2, trade.id_size - 2, 0, False)
    if first < 0x80:
        return TradeId(NULL, 0, first, True)
    if first >= 0xE0:
        return TradeId(NULL, 0, <int64_t> first - 256, False)
    for i in range(1, trade.id_size):
        value = value << 8 | id[i]
    if first < 0xD0:
        return TradeId(NULL, 0, <int64_t> value, True)
    unused = 72 - 8 * trade.id_size         # bits that the sign fills
    return TradeId(NULL, 0, <int64_t> (value << unused) >> unused, False)
