"""Data messages as MessagePack arrays, numbers in their smallest form, as ``msgpack.packb`` writes them."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from mdstream._core.base.buffer cimport Buffer, buffer_reserve
from mdstream._core.base.digits cimport (
    INT_MAX_PACKED, SLACK, pack_array, pack_int, pack_levels, pack_uint, put_text,
)
from mdstream._core.codec.encode cimport REASON_EPOCH, REASON_RECOVER, REASON_RELOAD, REASON_SLOW, Quote, Reason
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade, TradeLog

cdef enum:
    # Array headers, kind, and every scalar field of a message at its longest.
    HEAD_MAX = 160
    TRADE_MAX = 1 + 5 * INT_MAX_PACKED    # and its id


cdef inline char* pack_reason(char* at, Reason reason) noexcept nogil:
    """The header of a short string is a byte of the literal."""
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
    buffer_reserve(out, HEAD_MAX + SLACK + 2 * INT_MAX_PACKED * (bids.count + asks.count))
    return out.data + out.size


cdef int msgpack_delta(Buffer* out, uint32_t sub, uint64_t first, uint64_t last, uint64_t ts_us,
                       const Levels* bids, const Levels* asks, uint32_t crc) except -1 nogil:
    cdef char* at = reserve(out, bids, asks)
    at = pack_kind(at, 8, 1, sub)
    at = pack_uint(at, first)
    at = pack_uint(at, last)
    at = pack_uint(at, ts_us)
    at = pack_levels(at, bids.values, bids.count)
    at = pack_levels(at, asks.values, asks.count)
    at = pack_uint(at, crc)
    out.size = at - out.data
    return 0


cdef int msgpack_snapshot(Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                          const Levels* bids, const Levels* asks, uint32_t crc, Reason reason) except -1 nogil:
    cdef char* at = reserve(out, bids, asks)
    at = pack_kind(at, 9, 2, sub)
    at = pack_uint(at, epoch)
    at = pack_uint(at, seq)
    at = pack_uint(at, ts_us)
    at = pack_levels(at, bids.values, bids.count)
    at = pack_levels(at, asks.values, asks.count)
    at = pack_uint(at, crc)
    at = pack_reason(at, reason)
    out.size = at - out.data
    return 0


cdef inline char* pack_trade(char* at, const Trade* trade) noexcept nogil:
    at = pack_array(at, 6)
    at = pack_uint(at, trade.seq)
    at = pack_uint(at, trade.ts_us)
    at = pack_int(at, trade.price_ticks)
    at = pack_int(at, trade.size_lots)
    at = pack_uint(at, trade.side)
    memcpy(at, trade.id, trade.id_size)         # kept in this very form
    return at + trade.id_size


cdef int msgpack_trades(Buffer* out, uint32_t sub, TradeLog log, uint64_t first, uint64_t last,
                        Py_ssize_t id_bytes) except -1 nogil:
    cdef uint64_t seq
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK + TRADE_MAX * <Py_ssize_t>(last + 1 - first) + id_bytes)
    at = pack_kind(out.data + out.size, 6, 3, sub)
    at = pack_uint(at, log.epoch)
    at = pack_uint(at, first)
    at = pack_uint(at, last)
    at = pack_array(at, <Py_ssize_t>(last + 1 - first))
    for seq in range(first, last + 1):
        at = pack_trade(at, log.c_get(seq))
    out.size = at - out.data
    return 0


cdef inline char* pack_quote(char* at, Quote quote) noexcept nogil:
    if quote.lots == 0:
        return put_text(at, b"\xc0\xc0")
    at = pack_int(at, quote.ticks)
    return pack_int(at, quote.lots)


cdef int msgpack_ticker(Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                        Quote bid, Quote ask, Quote last) except -1 nogil:
    cdef char* at
    buffer_reserve(out, HEAD_MAX + SLACK)
    at = pack_kind(out.data + out.size, 11, 4, sub)
    at = pack_uint(at, epoch)
    at = pack_uint(at, seq)
    at = pack_uint(at, ts_us)
    at = pack_quote(at, bid)
    at = pack_quote(at, ask)
    at = pack_quote(at, last)
    out.size = at - out.data
    return 0


cdef int msgpack_heartbeat(Buffer* out, uint64_t time_us, const uint64_t* pairs, Py_ssize_t n) except -1 nogil:
    cdef char* at
    cdef Py_ssize_t i
    buffer_reserve(out, HEAD_MAX + SLACK + 2 * INT_MAX_PACKED * n)
    at = pack_array(out.data + out.size, 3)
    at = pack_uint(at, 5)
    at = pack_uint(at, time_us)
    at = pack_array(at, 2 * n)
    for i in range(2 * n):
        at = pack_uint(at, pairs[i])
    out.size = at - out.data
    return 0
