"""Data messages as MessagePack arrays, each number in its shortest encoding, as ``msgpack.packb`` writes them."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from mdstream._core.base.buffer cimport Buffer, buffer_end, buffer_reserve
from mdstream._core.base.digits cimport (
    INT_MAX_MSGPACK, SLACK, pack_array, pack_int, pack_levels, pack_uint, put_text,
)
from mdstream._core.codec.message cimport REASON_EPOCH, REASON_RECOVER, REASON_RELOAD, REASON_SLOW, Head, Quote, Reason
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade, TradeLog

cdef enum:
    HEAD_MAX = 160                          # array headers, kind and every scalar field at its longest
    TRADE_MAX = 1 + 5 * INT_MAX_MSGPACK     # without its id


cdef inline char* pack_reason(char* at, Reason reason) noexcept nogil:
    """The first byte of each literal is the string's header."""
    if reason == REASON_RECOVER:
        return put_text(at, b"\xa7recover")
    if reason == REASON_EPOCH:
        return put_text(at, b"\xa5epoch")
    if reason == REASON_SLOW:
        return put_text(at, b"\xa4slow")
    if reason == REASON_RELOAD:
        return put_text(at, b"\xa6reload")
    return put_text(at, b"\xa9subscribe")


cdef inline char* pack_kind(char* at, int count, int kind, uint32_t sub) noexcept nogil:
    at = pack_array(at, count)
    at = pack_uint(at, kind)
    return pack_uint(at, sub)


cdef inline char* reserve(Buffer* out, const Levels* bids, const Levels* asks) except NULL nogil:
    buffer_reserve(out, HEAD_MAX + SLACK + 2 * INT_MAX_MSGPACK * (bids.count + asks.count))
    return out.data + out.size


cdef inline char* pack_sides(char* at, const Levels* bids, const Levels* asks, uint32_t crc) noexcept nogil:
    at = pack_levels(at, bids.values, bids.count)
    at = pack_levels(at, asks.values, asks.count)
    return pack_uint(at, crc)


cdef int encode_delta(Buffer* out, const Head* head, const Levels* bids, const Levels* asks,
                      uint32_t crc) except -1 nogil:
    cdef char* at = reserve(out, bids, asks)
    at = pack_kind(at, 8, 1, head.sub)
    at = pack_uint(at, head.first)
    at = pack_uint(at, head.seq)
    at = pack_uint(at, head.ts_us)
    at = pack_sides(at, bids, asks, crc)
    return buffer_end(out, at)


cdef inline char* pack_epoch_seq_ts(char* at, const Head* head) noexcept nogil:
    at = pack_uint(at, head.epoch)
    at = pack_uint(at, head.seq)
    return pack_uint(at, head.ts_us)


cdef int encode_snapshot(Buffer* out, const Head* head, const Levels* bids, const Levels* asks, uint32_t crc,
                         Reason reason) except -1 nogil:
    cdef char* at = reserve(out, bids, asks)
    at = pack_kind(at, 9, 2, head.sub)
    at = pack_epoch_seq_ts(at, head)
    at = pack_sides(at, bids, asks, crc)
    at = pack_reason(at, reason)
    return buffer_end(out, at)


cdef inline char* pack_trade(char* at, const Trade* trade) noexcept nogil:
    at = pack_array(at, 6)
    at = pack_uint(at, trade.seq)
    at = pack_uint(at, trade.ts_us)
    at = pack_int(at, trade.price_ticks)
    at = pack_int(at, trade.size_lots)
    at = pack_uint(at, trade.side)
    memcpy(at, trade.id, trade.id_size)         # it is kept as MessagePack
    return at + trade.id_size


cdef int encode_trades(Buffer* out, const Head* head, TradeLog log) except -1:
    cdef Py_ssize_t id_bytes = log.c_id_bytes(head.first, head.seq)
    cdef Py_ssize_t count = <Py_ssize_t>(head.seq + 1 - head.first)
    cdef uint64_t seq
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK + TRADE_MAX * count + id_bytes)
    at = pack_kind(out.data + out.size, 6, 3, head.sub)
    at = pack_uint(at, head.epoch)
    at = pack_uint(at, head.first)
    at = pack_uint(at, head.seq)
    at = pack_array(at, count)
    for seq in range(head.first, head.seq + 1):
        at = pack_trade(at, log.c_get(seq))
    return buffer_end(out, at)


cdef inline char* pack_quote(char* at, Quote quote) noexcept nogil:
    if quote.lots == 0:
        return put_text(at, b"\xc0\xc0")
    at = pack_int(at, quote.ticks)
    return pack_int(at, quote.lots)


cdef int encode_ticker(Buffer* out, const Head* head, Quote bid, Quote ask, Quote last) except -1 nogil:
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK)
    at = pack_kind(out.data + out.size, 11, 4, head.sub)
    at = pack_epoch_seq_ts(at, head)
    at = pack_quote(at, bid)
    at = pack_quote(at, ask)
    at = pack_quote(at, last)
    return buffer_end(out, at)


cdef int encode_heartbeat(Buffer* out, uint64_t time_us, const uint64_t* pairs, Py_ssize_t n) except -1 nogil:
    cdef char* at
    cdef Py_ssize_t i
    buffer_reserve(out, HEAD_MAX + SLACK + 2 * INT_MAX_MSGPACK * n)
    at = pack_array(out.data + out.size, 3)
    at = pack_uint(at, 5)
    at = pack_uint(at, time_us)
    at = pack_array(at, 2 * n)
    for i in range(2 * n):
        at = pack_uint(at, pairs[i])
    return buffer_end(out, at)


msgpack_encoder.delta = encode_delta
msgpack_encoder.snapshot = encode_snapshot
msgpack_encoder.trades = encode_trades
msgpack_encoder.ticker = encode_ticker
msgpack_encoder.heartbeat = encode_heartbeat
