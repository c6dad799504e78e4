"""Picks the encoder of a format, and shows all of them to Python.

The Python functions take flat levels and give one message's bytes; they serve tests, benchmarks and tools. The gateway
calls the C functions of ``encode.pxd``.
"""

from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.base.buffer cimport Buffer
from mdstream._core.codec.encode_json cimport json_delta, json_heartbeat, json_snapshot, json_ticker, json_trades
from mdstream._core.codec.encode_msgpack cimport (
    msgpack_delta, msgpack_heartbeat, msgpack_snapshot, msgpack_ticker, msgpack_trades,
)
from mdstream._core.orderbook.levels cimport Levels, levels_from_object
from mdstream._core.codec.feed_encoder cimport _Scratch
from mdstream._core.orderbook.trade_log cimport Trade, TradeLog

from mdstream import model
from mdstream.errors import SequenceError

JSON = FORMAT_JSON
MSGPACK = FORMAT_MSGPACK

cdef tuple REASONS = ("subscribe", "recover", "epoch", "slow", "reload")
cdef dict SIDES = {None: 0, "buy": 1, "sell": 2}


cdef int encode_delta(Format format, Buffer* out, uint32_t sub, uint64_t first, uint64_t last, uint64_t ts_us,
                      const Levels* bids, const Levels* asks, uint32_t crc, Scale scale) except -1 nogil:
    if format == FORMAT_MSGPACK:
        return msgpack_delta(out, sub, first, last, ts_us, bids, asks, crc)
    return json_delta(out, sub, first, last, ts_us, bids, asks, crc, scale)


cdef int encode_snapshot(Format format, Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                         const Levels* bids, const Levels* asks, uint32_t crc, Reason reason,
                         Scale scale) except -1 nogil:
    if format == FORMAT_MSGPACK:
        return msgpack_snapshot(out, sub, epoch, seq, ts_us, bids, asks, crc, reason)
    return json_snapshot(out, sub, epoch, seq, ts_us, bids, asks, crc, reason, scale)


cdef Py_ssize_t id_bytes_of(TradeLog log, uint64_t first, uint64_t last) except -1:
    """Bytes of the ids of trades first..last, all of which are kept; SequenceError if they are not."""
    cdef uint64_t seq
    cdef const Trade* trade
    cdef Py_ssize_t total = 0
    if first < 1 or first > last:
        raise SequenceError(f"trades {first} to {last} are no range of sequence numbers")
    for seq in range(first, last + 1):
        trade = log.c_get(seq)
        if trade == NULL:
            raise SequenceError(f"trade {seq} of {first} to {last} is not kept; {log.c_oldest()} to {log.seq} are")
        total += trade.id_size
    return total


cdef int encode_trades(Format format, Buffer* out, uint32_t sub, TradeLog log, uint64_t first, uint64_t last,
                       Scale scale) except -1:
    cdef Py_ssize_t id_bytes = id_bytes_of(log, first, last)
    if format == FORMAT_MSGPACK:
        return msgpack_trades(out, sub, log, first, last, id_bytes)
    return json_trades(out, sub, log, first, last, id_bytes, scale)


cdef int encode_ticker(Format format, Buffer* out, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                       Quote bid, Quote ask, Quote last, Scale scale) except -1 nogil:
    if format == FORMAT_MSGPACK:
        return msgpack_ticker(out, sub, epoch, seq, ts_us, bid, ask, last)
    return json_ticker(out, sub, epoch, seq, ts_us, bid, ask, last, scale)


cdef int encode_heartbeat(Format format, Buffer* out, uint64_t time_us, const uint64_t* pairs,
                          Py_ssize_t n) except -1 nogil:
    if format == FORMAT_MSGPACK:
        return msgpack_heartbeat(out, time_us, pairs, n)
    return json_heartbeat(out, time_us, pairs, n)


# ---- for Python

cdef Format as_format(int format) except? FORMAT_JSON:
    if format != FORMAT_JSON and format != FORMAT_MSGPACK:
        raise ValueError(f"format was {format}; it is JSON (0) or MSGPACK (1)")
    return <Format>format


cdef Scale as_scale(int price_exp, int size_exp) except *:
    cdef int limit = model.MAX_EXPONENT
    if not (-limit <= price_exp <= limit and -limit <= size_exp <= limit):
        raise ValueError(f"price_exp {price_exp} and size_exp {size_exp} must lie within ±{limit}")
    return Scale(price_exp, size_exp)


cdef Quote as_quote(object quote) except *:
    if quote is None:
        return Quote(0, 0)
    return Quote(quote[0], quote[1])


def delta(int format, uint32_t sub, uint64_t first, uint64_t last, uint64_t ts_us, bids, asks, uint32_t crc,
          int price_exp, int size_exp):
    cdef _Scratch scratch = _Scratch()
    scratch.take_sides(bids, asks)
    encode_delta(as_format(format), &scratch.out, sub, first, last, ts_us, &scratch.bids, &scratch.asks, crc,
                 as_scale(price_exp, size_exp))
    return scratch.taken()


def snapshot(int format, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us, bids, asks, uint32_t crc,
             str reason, int price_exp, int size_exp):
    cdef _Scratch scratch = _Scratch()
    scratch.take_sides(bids, asks)
    if reason not in REASONS:
        raise ValueError(f"reason was {reason!r}; it is one of {', '.join(REASONS)}")
    encode_snapshot(as_format(format), &scratch.out, sub, epoch, seq, ts_us, &scratch.bids, &scratch.asks, crc,
                    <Reason><int>REASONS.index(reason), as_scale(price_exp, size_exp))
    return scratch.taken()


def trades(int format, uint32_t sub, uint64_t epoch, uint64_t first, trades, int price_exp, int size_exp):
    cdef _Scratch scratch = _Scratch()
    cdef TradeLog log = TradeLog(max(1, len(trades)))
    cdef uint64_t seq = first
    log.c_reset(epoch, first - 1)
    for ts_us, price_ticks, size_lots, side, trade_id in trades:
        log.append(seq, ts_us, price_ticks, size_lots, SIDES[side], trade_id)
        seq += 1
    encode_trades(as_format(format), &scratch.out, sub, log, first, seq - 1, as_scale(price_exp, size_exp))
    return scratch.taken()


def ticker(int format, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us, bid, ask, last,
           int price_exp, int size_exp):
    cdef _Scratch scratch = _Scratch()
    encode_ticker(as_format(format), &scratch.out, sub, epoch, seq, ts_us, as_quote(bid), as_quote(ask), as_quote(last),
                  as_scale(price_exp, size_exp))
    return scratch.taken()


def heartbeat(int format, uint64_t time_us, seqs):
    cdef _Scratch scratch = _Scratch()
    cdef Levels* pairs = &scratch.bids      # the same shape: a flat run of pairs
    levels_from_object(pairs, [number for pair in seqs for number in pair])
    encode_heartbeat(as_format(format), &scratch.out, time_us, <const uint64_t*>pairs.values, pairs.count)
    return scratch.taken()
