from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.codec.encode cimport Quote, Reason
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport TradeLog

cdef int msgpack_delta(Buffer* out, uint32_t sub, uint64_t first, uint64_t last, uint64_t ts_us,
                       const Levels* bids, const Levels* asks, uint32_t crc) except -1 nogil
cdef int msgpack_snapshot(Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                          const Levels* bids, const Levels* asks, uint32_t crc, Reason reason) except -1 nogil
# id_bytes: of all their ids together; every trade of the range is kept
cdef int msgpack_trades(Buffer* out, uint32_t sub, TradeLog log, uint64_t first, uint64_t last,
                        Py_ssize_t id_bytes) except -1 nogil
cdef int msgpack_ticker(Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                        Quote bid, Quote ask, Quote last) except -1 nogil
cdef int msgpack_heartbeat(Buffer* out, uint64_t time_us, const uint64_t* pairs, Py_ssize_t n) except -1 nogil
