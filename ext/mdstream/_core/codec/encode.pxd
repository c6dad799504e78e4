"""Encoders of the data messages, both formats, appended to a Buffer without a Python object.

The interface; ``encode_json.pyx`` and ``encode_msgpack.pyx`` are its implementations. The bytes are those of
``json.dumps(message, separators=(",", ":"), ensure_ascii=False)`` and ``msgpack.packb(message)`` of the objects in the
contract, with the keys in the contract's order.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade, TradeLog

cdef enum Format:
    FORMAT_JSON = 0
    FORMAT_MSGPACK = 1

cdef enum Reason:
    REASON_SUBSCRIBE = 0
    REASON_RECOVER = 1
    REASON_EPOCH = 2
    REASON_SLOW = 3
    REASON_RELOAD = 4

cdef struct Scale:
    int price_exp
    int size_exp

cdef struct Quote:          # of a ticker; lots 0: there is none
    int64_t ticks
    int64_t lots

cdef int encode_delta(Format format, Buffer* out, uint32_t sub, uint64_t first, uint64_t last, uint64_t ts_us,
                      const Levels* bids, const Levels* asks, uint32_t crc, Scale scale) except -1 nogil
cdef int encode_snapshot(Format format, Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                         const Levels* bids, const Levels* asks, uint32_t crc, Reason reason,
                         Scale scale) except -1 nogil
cdef int encode_trades(Format format, Buffer* out, uint32_t sub, TradeLog log, uint64_t first, uint64_t last,
                       Scale scale) except -1
cdef int encode_ticker(Format format, Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                       Quote bid, Quote ask, Quote last, Scale scale) except -1 nogil
# pairs: [sub, seq, sub, seq, …], n of them
cdef int encode_heartbeat(Format format, Buffer* out, uint64_t time_us, const uint64_t* pairs,
                          Py_ssize_t n) except -1 nogil
