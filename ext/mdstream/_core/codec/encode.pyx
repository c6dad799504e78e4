"""The encoders by format, and the same for Python: data messages of the gateway ↔ client contract as bytes.

The Python functions serve tests, benchmarks and tools; the gateway calls ``ENCODERS``. Levels are flat,
``[ticks, lots, …]``, best first. ``sub`` and ``crc`` must fit 32 bits, the other unsigned numbers 64: OverflowError.
Exponents are within ±18: ValueError. A quote is (price_ticks, size_lots) or None.
"""

from libc.stdint cimport uint32_t, uint64_t

from mdstream._core.codec.encode_json cimport json_encoder
from mdstream._core.codec.encode_msgpack cimport msgpack_encoder
from mdstream._core.codec.feed_encoder cimport _Scratch
from mdstream._core.codec.message cimport FORMAT_JSON, FORMAT_MSGPACK, Head, Quote, Reason, Scale
from mdstream._core.orderbook.levels cimport Levels, levels_from_object
from mdstream._core.orderbook.trade_log cimport TradeLog

from mdstream import model

JSON = FORMAT_JSON
MSGPACK = FORMAT_MSGPACK
ENCODERS[<int>FORMAT_JSON] = json_encoder
ENCODERS[<int>FORMAT_MSGPACK] = msgpack_encoder

cdef tuple REASONS = ("subscribe", "recover", "epoch", "slow", "reload")
cdef dict SIDES = {None: 0, "buy": 1, "sell": 2}


cdef Encoder* encoder_of(int format) except NULL:
    if format != FORMAT_JSON and format != FORMAT_MSGPACK:
        raise ValueError(f"format was {format}; it is JSON (0) or MSGPACK (1)")
    return &ENCODERS[format]


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
    """A ``delta``; lots 0 deletes."""
    cdef _Scratch scratch = _Scratch()
    cdef Head head = Head(sub, 0, first, last, ts_us, as_scale(price_exp, size_exp))
    scratch.take_sides(bids, asks)
    encoder_of(format).delta(&scratch.out, &head, &scratch.bids, &scratch.asks, crc)
    return scratch.to_bytes()


def snapshot(int format, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us, bids, asks, uint32_t crc,
             str reason, int price_exp, int size_exp):
    """A ``snapshot``; ValueError if ``reason`` is none of the contract's."""
    cdef _Scratch scratch = _Scratch()
    cdef Head head = Head(sub, epoch, seq, seq, ts_us, as_scale(price_exp, size_exp))
    scratch.take_sides(bids, asks)
    if reason not in REASONS:
        raise ValueError(f"reason was {reason!r}; it is one of {', '.join(REASONS)}")
    encoder_of(format).snapshot(&scratch.out, &head, &scratch.bids, &scratch.asks, crc, <Reason><int>REASONS.index(reason))
    return scratch.to_bytes()


def trades(int format, uint32_t sub, uint64_t epoch, uint64_t first, trades, int price_exp, int size_exp):
    """``trades`` numbered from ``first``; SequenceError if there are none.

    A trade is (ts_us, price_ticks, size_lots, "buy", "sell" or None, id); the id is an integer of 64 bits or a string of at
    most 126 bytes.
    """
    cdef _Scratch scratch = _Scratch()
    cdef TradeLog log = TradeLog(max(1, len(trades)))
    cdef Head head = Head(sub, epoch, first, first - 1, 0, as_scale(price_exp, size_exp))
    log.c_reset(epoch, first - 1)
    for ts_us, price_ticks, size_lots, side, trade_id in trades:
        head.seq += 1
        log.append(head.seq, ts_us, price_ticks, size_lots, SIDES[side], trade_id)
    encoder_of(format).trades(&scratch.out, &head, log)
    return scratch.to_bytes()


def ticker(int format, uint32_t sub, uint64_t epoch, uint64_t seq, uint64_t ts_us, bid, ask, last,
           int price_exp, int size_exp):
    """A ``ticker``; a quote of None, or of 0 lots, is null in JSON and two nils in MessagePack."""
    cdef _Scratch scratch = _Scratch()
    cdef Head head = Head(sub, epoch, seq, seq, ts_us, as_scale(price_exp, size_exp))
    encoder_of(format).ticker(&scratch.out, &head, as_quote(bid), as_quote(ask), as_quote(last))
    return scratch.to_bytes()


def heartbeat(int format, uint64_t time_us, seqs):
    """A ``heartbeat`` of (sub, seq) pairs."""
    cdef _Scratch scratch = _Scratch()
    cdef Levels* pairs = &scratch.bids      # the same shape: two numbers each
    levels_from_object(pairs, [number for pair in seqs for number in pair])
    encoder_of(format).heartbeat(&scratch.out, time_us, <const uint64_t*>pairs.values, pairs.count)
    return scratch.to_bytes()
