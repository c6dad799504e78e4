"""A trade's id, kept as the MessagePack bytes the feed sent: an integer of any form, or a string."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._core.trades cimport Trade

cdef struct TradeId:
    const char* text        # NULL: the id is `number`
    Py_ssize_t size         # bytes of text
    int64_t number
    bint unsigned           # number is to be read as unsigned


cdef inline uint64_t read_big(const uint8_t* bytes, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value = value << 8 | bytes[i]
    return value


cdef inline TradeId trade_id(const Trade* trade) noexcept nogil:
    """Reads what `payload` has validated: one whole MessagePack integer or string of up to 255 bytes."""
    cdef const uint8_t* id = &trade.id[0]
    cdef uint8_t first = id[0]
    cdef int width, unused
    if first & 0xe0 == 0xa0:
        return TradeId(<const char*>id + 1, first & 0x1f, 0, False)
    if first >= 0xd9 and first <= 0xdb:
        width = 1 << (first - 0xd9)
        return TradeId(<const char*>id + 1 + width, <Py_ssize_t>read_big(id + 1, width), 0, False)
    if first < 0x80:
        return TradeId(NULL, 0, first, True)
    if first >= 0xe0:
        return TradeId(NULL, 0, <int64_t>first - 256, False)
    width = 1 << (first & 3)
    if first < 0xd0:
        return TradeId(NULL, 0, <int64_t>read_big(id + 1, width), True)
    unused = 64 - 8 * width
    return TradeId(NULL, 0, <int64_t>(read_big(id + 1, width) << unused) >> unused, False)
