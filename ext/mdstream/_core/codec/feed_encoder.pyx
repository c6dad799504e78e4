"""The payloads of a feed, one value each, as ``msgpack.packb`` writes them; joined they are a batch.

Levels are flat, ``[ticks, lots, …]``. Every number must fit its 64 bits: OverflowError. Nothing else is checked; the
publisher refuses a bad book.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from mdstream._core.base.buffer cimport buffer_end, buffer_free, buffer_reserve
from mdstream._core.base.digits cimport INT_MAX_MSGPACK, SLACK, pack_array, pack_int, pack_levels, pack_text_header, pack_uint
from mdstream._core.orderbook.levels cimport levels_free, levels_from_object
from mdstream._core.orderbook.trade_log cimport TRADE_ID_MAX

cdef enum:
    HEAD_MAX = 160              # array headers and every scalar field at its longest
    ID_TEXT_MAX = TRADE_ID_MAX - 2


cdef class _Scratch:
    def __dealloc__(self):
        buffer_free(&self.out)
        levels_free(&self.bids)
        levels_free(&self.asks)

    cdef int take_sides(self, object bids, object asks) except -1:
        levels_from_object(&self.bids, bids)
        return levels_from_object(&self.asks, asks)

    cdef bytes to_bytes(self):
        return PyBytes_FromStringAndSize(self.out.data, self.out.size)


cdef char* pack_id(char* out, object trade_id) except NULL:
    cdef bytes text
    if isinstance(trade_id, int) and not isinstance(trade_id, bool):
        try:
            return pack_int(out, trade_id) if trade_id < 0 else pack_uint(out, trade_id)
        except OverflowError:
            raise ValueError(f"trade_id {trade_id} does not fit 64 bits") from None
    if not isinstance(trade_id, str):
        raise TypeError(f"trade_id was {trade_id!r}; it is a string or an integer")
    text = trade_id.encode()
    if len(text) > ID_TEXT_MAX:
        raise ValueError(f"trade_id {trade_id!r} is {len(text)} bytes of UTF-8; at most {ID_TEXT_MAX} are allowed")
    out = pack_text_header(out, len(text))
    memcpy(out, <const char*>text, len(text))
    return out + len(text)


cdef char* start(_Scratch scratch, Py_ssize_t fields, int kind, bids, asks) except NULL:
    """Takes both sides, reserves for them and begins the array."""
    scratch.take_sides(bids, asks)
    buffer_reserve(&scratch.out, HEAD_MAX + SLACK + 2 * INT_MAX_MSGPACK * (scratch.bids.count + scratch.asks.count))
    return pack_uint(pack_array(scratch.out.data, fields), kind)


cdef bytes end(_Scratch scratch, char* at):
    at = pack_levels(at, scratch.bids.values, scratch.bids.count)
    at = pack_levels(at, scratch.asks.values, scratch.asks.count)
    buffer_end(&scratch.out, at)
    return scratch.to_bytes()


def pack_book(uint64_t epoch, uint64_t first, uint64_t last, uint64_t ts_us, bids, asks):
    """A value of stream ``book``: ``[1, epoch, first, last, ts, bids, asks]``; lots 0 deletes."""
    cdef _Scratch scratch = _Scratch()
    cdef char* at = start(scratch, 7, 1, bids, asks)
    at = pack_uint(at, epoch)
    at = pack_uint(at, first)
    at = pack_uint(at, last)
    return end(scratch, pack_uint(at, ts_us))


def pack_snap(uint64_t epoch, uint64_t seq, uint64_t ts_us, bids, asks):
    """A value of stream ``snap``: ``[2, epoch, seq, ts, bids, asks]``, best first."""
    cdef _Scratch scratch = _Scratch()
    cdef char* at = start(scratch, 6, 2, bids, asks)
    at = pack_uint(at, epoch)
    at = pack_uint(at, seq)
    return end(scratch, pack_uint(at, ts_us))


def pack_trade(uint64_t epoch, uint64_t seq, uint64_t ts_us, int64_t price_ticks, int64_t size_lots, int side,
               trade_id):
    """A value of stream ``trade``: ``[3, epoch, seq, ts, price_ticks, size_lots, side, trade_id]``.

    Side 1: the buyer took, 2: the seller took, 0: unknown. The id is an integer of 64 bits or a string of at most 126 bytes;
    TypeError or ValueError otherwise.
    """
    cdef char[HEAD_MAX + TRADE_ID_MAX + SLACK] payload
    cdef char* at
    if not 0 <= side <= 2:
        raise ValueError(f"side was {side}; it is 1 (the buyer took), 2 (the seller took) or 0 (unknown)")
    at = pack_array(payload, 8)
    at = pack_uint(at, 3)
    at = pack_uint(at, epoch)
    at = pack_uint(at, seq)
    at = pack_uint(at, ts_us)
    at = pack_int(at, price_ticks)
    at = pack_int(at, size_lots)
    at = pack_uint(at, side)
    at = pack_id(at, trade_id)
    return PyBytes_FromStringAndSize(payload, at - payload)
