"""Data messages as JSON objects without spaces, prices and sizes as exact decimal strings.

A deleted level has its size written like any other, with exactly -size_exp decimals ("0.00000000").
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer, buffer_reserve
from mdstream._core.base.digits cimport (
    SLACK, UINT_MAX_TEXT, decimal_max_text, put_decimal, put_int, put_text, put_uint,
)
from mdstream._core.codec.encode cimport REASON_EPOCH, REASON_RECOVER, REASON_RELOAD, REASON_SLOW, Quote, Reason, Scale
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade, TradeLog

cdef enum:
    # Keys, punctuation and every scalar field of a message at its longest.
    HEAD_MAX = 256
    LEVEL_PUNCTUATION = 8       # ["",""],
    TRADE_PUNCTUATION = 48      # and an id that is a number
    ID_GROWTH = 6               # a control character becomes \u001f


cdef inline char* put_pair(char* at, int64_t ticks, int64_t lots, Scale scale) noexcept nogil:
    at = put_text(at, b'["')
    at = put_decimal(at, ticks, scale.price_exp)
    at = put_text(at, b'","')
    at = put_decimal(at, lots, scale.size_exp)
    return put_text(at, b'"]')


cdef inline char* put_levels(char* at, const Levels* levels, Scale scale) noexcept nogil:
    cdef const int64_t* value = levels.values
    cdef const int64_t* end = value + 2 * levels.count
    while value < end:
        at = put_pair(at, value[0], value[1], scale)
        at[0] = c","
        at += 1
        value += 2
    # The last comma becomes the bracket's place.
    return put_text(at - (levels.count > 0), b"]")


cdef inline Py_ssize_t pair_max(Scale scale) noexcept nogil:
    return LEVEL_PUNCTUATION + decimal_max_text(scale.price_exp) + decimal_max_text(scale.size_exp)


cdef inline char* reserve(Buffer* out, const Levels* bids, const Levels* asks, Scale scale) except NULL nogil:
    buffer_reserve(out, HEAD_MAX + SLACK + pair_max(scale) * (bids.count + asks.count))
    return out.data + out.size


cdef inline char* put_sides(char* at, const Levels* bids, const Levels* asks, uint32_t crc, Scale scale) noexcept nogil:
    at = put_text(at, b',"bids":[')
    at = put_levels(at, bids, scale)
    at = put_text(at, b',"asks":[')
    at = put_levels(at, asks, scale)
    at = put_text(at, b',"crc":')
    return put_uint(at, crc)


cdef int json_delta(Buffer* out, uint32_t sub, uint64_t first, uint64_t last, uint64_t ts_us,
                    const Levels* bids, const Levels* asks, uint32_t crc, Scale scale) except -1 nogil:
    cdef char* at = reserve(out, bids, asks, scale)
    at = put_text(at, b'{"type":"delta","sub":')
    at = put_uint(at, sub)
    at = put_text(at, b',"first":')
    at = put_uint(at, first)
    at = put_text(at, b',"last":')
    at = put_uint(at, last)
    at = put_text(at, b',"ts":')
    at = put_uint(at, ts_us)
    at = put_sides(at, bids, asks, crc, scale)
    at = put_text(at, b"}")
    out.size = at - out.data
    return 0


cdef inline char* put_reason(char* at, Reason reason) noexcept nogil:
    if reason == REASON_RECOVER:
        return put_text(at, b',"reason":"recover"}')
    if reason == REASON_EPOCH:
        return put_text(at, b',"reason":"epoch"}')
    if reason == REASON_SLOW:
        return put_text(at, b',"reason":"slow"}')
    if reason == REASON_RELOAD:
        return put_text(at, b',"reason":"reload"}')
    return put_text(at, b',"reason":"subscribe"}')


cdef inline char* put_position(char* at, uint32_t sub, uint64_t epoch) noexcept nogil:
    at = put_uint(at, sub)
    at = put_text(at, b',"epoch":')
    return put_uint(at, epoch)


cdef inline char* put_seq_ts(char* at, uint64_t seq, uint64_t ts_us) noexcept nogil:
    at = put_text(at, b',"seq":')
    at = put_uint(at, seq)
    at = put_text(at, b',"ts":')
    return put_uint(at, ts_us)


cdef int json_snapshot(Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                       const Levels* bids, const Levels* asks, uint32_t crc, Reason reason,
                       Scale scale) except -1 nogil:
    cdef char* at = reserve(out, bids, asks, scale)
    at = put_text(at, b'{"type":"snapshot","sub":')
    at = put_position(at, sub, epoch)
    at = put_seq_ts(at, seq, ts_us)
    at = put_sides(at, bids, asks, crc, scale)
    at = put_reason(at, reason)
    out.size = at - out.data
    return 0


cdef inline char* put_escaped(char* at, uint8_t byte) noexcept nogil:
    """A byte that JSON text may not hold as it is: a quote, a backslash or a control character."""
    at[0] = c"\\"
    if byte == c'"' or byte == c"\\":
        at[1] = <char>byte
    elif byte == c"\n":
        at[1] = c"n"
    elif byte == c"\r":
        at[1] = c"r"
    elif byte == c"\t":
        at[1] = c"t"
    elif byte == c"\f":
        at[1] = c"f"
    elif byte == c"\b":
        at[1] = c"b"
    else:
        at = put_text(at, b"\\u00")
        at[0] = <char>(c"0" + (byte >> 4))
        at[1] = (<const char*>b"0123456789abcdef")[byte & 15]
    return at + 2


cdef inline char* put_string(char* at, const char* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint8_t byte
    at = put_text(at, b'"')
    for i in range(size):
        byte = <uint8_t>text[i]
        if byte < 0x20 or byte == c'"' or byte == c"\\":
            at = put_escaped(at, byte)
        else:
            at[0] = <char>byte
            at += 1
    return put_text(at, b'"')


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


cdef inline TradeId read_id(const Trade* trade) noexcept nogil:
    """A trade keeps its id as one whole MessagePack integer or string of up to 255 bytes."""
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


cdef inline char* put_id(char* at, const Trade* trade) noexcept nogil:
    cdef TradeId id = read_id(trade)
    if id.text != NULL:
        return put_string(at, id.text, id.size)
    return put_uint(at, <uint64_t>id.number) if id.unsigned else put_int(at, id.number)


cdef inline char* put_trade(char* at, const Trade* trade, Scale scale) noexcept nogil:
    at = put_text(at, b"[")
    at = put_uint(at, trade.seq)
    at = put_text(at, b",")
    at = put_uint(at, trade.ts_us)
    at = put_text(at, b',"')
    at = put_decimal(at, trade.price_ticks, scale.price_exp)
    at = put_text(at, b'","')
    at = put_decimal(at, trade.size_lots, scale.size_exp)
    if trade.side == 0:
        at = put_text(at, b'",null,')
    elif trade.side == 1:
        at = put_text(at, b'","buy",')
    else:
        at = put_text(at, b'","sell",')
    at = put_id(at, trade)
    return put_text(at, b"],")


cdef inline Py_ssize_t trade_max(Scale scale) noexcept nogil:
    return TRADE_PUNCTUATION + 2 * UINT_MAX_TEXT + pair_max(scale)


cdef int json_trades(Buffer* out, uint32_t sub, TradeLog log, uint64_t first, uint64_t last,
                     Py_ssize_t id_bytes, Scale scale) except -1 nogil:
    cdef uint64_t seq
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK + trade_max(scale) * <Py_ssize_t>(last + 1 - first) + ID_GROWTH * id_bytes)
    at = put_text(out.data + out.size, b'{"type":"trades","sub":')
    at = put_position(at, sub, log.epoch)
    at = put_text(at, b',"first":')
    at = put_uint(at, first)
    at = put_text(at, b',"last":')
    at = put_uint(at, last)
    at = put_text(at, b',"trades":[')
    for seq in range(first, last + 1):
        at = put_trade(at, log.c_get(seq), scale)
    at = put_text(at - (last >= first), b"]}")
    out.size = at - out.data
    return 0


cdef inline char* put_quote(char* at, Quote quote, Scale scale) noexcept nogil:
    if quote.lots == 0:
        return put_text(at, b"null")
    return put_pair(at, quote.ticks, quote.lots, scale)


cdef int json_ticker(Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                     Quote bid, Quote ask, Quote last, Scale scale) except -1 nogil:
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK + 3 * pair_max(scale))
    at = put_text(out.data + out.size, b'{"type":"ticker","sub":')
    at = put_position(at, sub, epoch)
    at = put_seq_ts(at, seq, ts_us)
    at = put_text(at, b',"bid":')
    at = put_quote(at, bid, scale)
    at = put_text(at, b',"ask":')
    at = put_quote(at, ask, scale)
    at = put_text(at, b',"last":')
    at = put_quote(at, last, scale)
    at = put_text(at, b"}")
    out.size = at - out.data
    return 0


cdef int json_heartbeat(Buffer* out, uint64_t time_us, const uint64_t* pairs, Py_ssize_t n) except -1 nogil:
    cdef char* at
    cdef Py_ssize_t i
    buffer_reserve(out, HEAD_MAX + SLACK + (2 * UINT_MAX_TEXT + 4) * n)
    at = put_text(out.data + out.size, b'{"type":"heartbeat","time":')
    at = put_uint(at, time_us)
    at = put_text(at, b',"seqs":[')
    for i in range(n):
        at = put_text(at, b"[")
        at = put_uint(at, pairs[2 * i])
        at = put_text(at, b",")
        at = put_uint(at, pairs[2 * i + 1])
        at = put_text(at, b"],")
    at = put_text(at - (n > 0), b"]}")
    out.size = at - out.data
    return 0
