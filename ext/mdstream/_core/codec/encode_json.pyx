"""Data messages as JSON objects without spaces; prices and sizes are exact decimal strings.

The size of a deleted level is written like any other, with exactly -size_exp decimals ("0.00000000").
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer, buffer_end, buffer_reserve
from mdstream._core.base.digits cimport (
    SLACK, UINT_MAX_TEXT, decimal_max_text, put_decimal, put_int, put_text, put_uint,
)
from mdstream._core.codec.message cimport (
    REASON_EPOCH, REASON_RECOVER, REASON_RELOAD, REASON_SLOW, Head, Quote, Reason, Scale,
)
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade, TradeId, TradeLog, trade_read_id

cdef enum:
    HEAD_MAX = 256              # keys, punctuation and every scalar field of a message at its longest
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
    return put_text(at - (levels.count > 0), b"]")      # in the place of the last comma


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


cdef inline char* put_range(char* at, const Head* head) noexcept nogil:
    at = put_text(at, b',"first":')
    at = put_uint(at, head.first)
    at = put_text(at, b',"last":')
    return put_uint(at, head.seq)


cdef int encode_delta(Buffer* out, const Head* head, const Levels* bids, const Levels* asks,
                      uint32_t crc) except -1 nogil:
    cdef char* at = reserve(out, bids, asks, head.scale)
    at = put_text(at, b'{"type":"delta","sub":')
    at = put_uint(at, head.sub)
    at = put_range(at, head)
    at = put_text(at, b',"ts":')
    at = put_uint(at, head.ts_us)
    at = put_sides(at, bids, asks, crc, head.scale)
    at = put_text(at, b"}")
    return buffer_end(out, at)


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


cdef inline char* put_sub_epoch(char* at, const Head* head) noexcept nogil:
    at = put_uint(at, head.sub)
    at = put_text(at, b',"epoch":')
    return put_uint(at, head.epoch)


cdef inline char* put_seq_ts(char* at, const Head* head) noexcept nogil:
    at = put_text(at, b',"seq":')
    at = put_uint(at, head.seq)
    at = put_text(at, b',"ts":')
    return put_uint(at, head.ts_us)


cdef int encode_snapshot(Buffer* out, const Head* head, const Levels* bids, const Levels* asks, uint32_t crc,
                         Reason reason) except -1 nogil:
    cdef char* at = reserve(out, bids, asks, head.scale)
    at = put_text(at, b'{"type":"snapshot","sub":')
    at = put_sub_epoch(at, head)
    at = put_seq_ts(at, head)
    at = put_sides(at, bids, asks, crc, head.scale)
    at = put_reason(at, reason)
    return buffer_end(out, at)


cdef inline char* put_escaped(char* at, uint8_t byte) noexcept nogil:
    """A byte that JSON does not allow in a string: a quote, a backslash or a control character (RFC 8259 section 7)."""
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


cdef inline char* put_id(char* at, const Trade* trade) noexcept nogil:
    cdef TradeId id = trade_read_id(trade)
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


cdef int encode_trades(Buffer* out, const Head* head, TradeLog log) except -1:
    cdef Py_ssize_t id_bytes = log.c_id_bytes(head.first, head.seq)
    cdef Py_ssize_t count = <Py_ssize_t>(head.seq + 1 - head.first)
    cdef uint64_t seq
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK + trade_max(head.scale) * count + ID_GROWTH * id_bytes)
    at = put_text(out.data + out.size, b'{"type":"trades","sub":')
    at = put_sub_epoch(at, head)
    at = put_range(at, head)
    at = put_text(at, b',"trades":[')
    for seq in range(head.first, head.seq + 1):
        at = put_trade(at, log.c_get(seq), head.scale)
    at = put_text(at - 1, b"]}")        # in the place of the last comma
    return buffer_end(out, at)


cdef inline char* put_quote(char* at, Quote quote, Scale scale) noexcept nogil:
    if quote.lots == 0:
        return put_text(at, b"null")
    return put_pair(at, quote.ticks, quote.lots, scale)


cdef int encode_ticker(Buffer* out, const Head* head, Quote bid, Quote ask, Quote last) except -1 nogil:
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK + 3 * pair_max(head.scale))
    at = put_text(out.data + out.size, b'{"type":"ticker","sub":')
    at = put_sub_epoch(at, head)
    at = put_seq_ts(at, head)
    at = put_text(at, b',"bid":')
    at = put_quote(at, bid, head.scale)
    at = put_text(at, b',"ask":')
    at = put_quote(at, ask, head.scale)
    at = put_text(at, b',"last":')
    at = put_quote(at, last, head.scale)
    at = put_text(at, b"}")
    return buffer_end(out, at)


cdef int encode_heartbeat(Buffer* out, uint64_t time_us, const uint64_t* pairs, Py_ssize_t n) except -1 nogil:
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
    return buffer_end(out, at)


json_encoder.delta = encode_delta
json_encoder.snapshot = encode_snapshot
json_encoder.trades = encode_trades
json_encoder.ticker = encode_ticker
json_encoder.heartbeat = encode_heartbeat
