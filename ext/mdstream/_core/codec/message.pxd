"""What data messages are made of, and the encoder of a format: the interface; encode_json and encode_msgpack implement it.

An encoder appends a message to a Buffer without a Python object. The bytes are those of
``json.dumps(message, separators=(",", ":"), ensure_ascii=False)`` and ``msgpack.packb(message)`` of the objects in the
contract, with the keys in the contract's order.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport TradeLog

cdef enum Format:
    FORMAT_JSON = 0
    FORMAT_MSGPACK = 1

cdef enum Reason:           # of a snapshot
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

cdef struct Head:           # what the messages of a subscription have in common
    uint32_t sub
    uint64_t epoch
    uint64_t first          # delta, trades: the first number that the message covers
    uint64_t seq            # the last number that it covers
    uint64_t ts_us          # not of trades: each has its own
    Scale scale             # JSON alone writes decimals

cdef struct Encoder:
    int (*delta)(Buffer* out, const Head* head, const Levels* bids, const Levels* asks, uint32_t crc) except -1 nogil
    int (*snapshot)(Buffer* out, const Head* head, const Levels* bids, const Levels* asks, uint32_t crc,
                    Reason reason) except -1 nogil
    # SequenceError unless the log keeps all of head.first..head.seq.
    int (*trades)(Buffer* out, const Head* head, TradeLog log) except -1
    int (*ticker)(Buffer* out, const Head* head, Quote bid, Quote ask, Quote last) except -1 nogil
    # pairs: [sub, seq, sub, seq, …], n of them
    int (*heartbeat)(Buffer* out, uint64_t time_us, const uint64_t* pairs, Py_ssize_t n) except -1 nogil
