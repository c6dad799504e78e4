from libc.stdint cimport int64_t
from libc.string cimport memcpy, memmove

from mdstream._bench.orders cimport FORMAT_JSON
from mdstream._bench.read_msgpack cimport msgpack_list, msgpack_number, msgpack_slice, slice_cursor
from mdstream._core.base.buffer cimport buffer_reserve
from mdstream._core.base.digits cimport SLACK, decimal_max_text, pack_array, pack_uint, put_decimal, put_text, put_uint
from mdstream._core.websocket.frame cimport HEADER_MAX, put_header

cdef enum:
    FIXED_MAX = 256             # bytes of a message without its levels
    PUNCTUATION = 8             # bytes of a level in JSON: ["",""],


cdef int relay_next(Cursor* payload, Update* out) noexcept nogil:
    cdef int64_t kind = 0
    if payload.at == payload.end:
        return 0
    if msgpack_list(payload) != 7 or not msgpack_number(payload, &kind) or kind != 1:
        return -1
    return 1 if (
        msgpack_number(payload, <int64_t*>&out.epoch) and msgpack_number(payload, <int64_t*>&out.first)
        and msgpack_number(payload, <int64_t*>&out.last) and msgpack_number(payload, <int64_t*>&out.ts_us)
        and msgpack_slice(payload, &out.bids) and msgpack_slice(payload, &out.asks)
    ) else -1


cdef Py_ssize_t relay_frame(Buffer* out, Format format, uint64_t sub, const Update* update, int price_exp, int size_exp) except -1 nogil:
    cdef Py_ssize_t start = out.size
    cdef Py_ssize_t head, room = FIXED_MAX + HEADER_MAX + SLACK + update.bids.size + update.asks.size
    cdef char* payload
    cdef char* end
    if format == FORMAT_JSON:           # a level has at least two bytes as MessagePack
        room += (update.bids.size + update.asks.size) // 2 * (decimal_max_text(price_exp) + decimal_max_text(size_exp) + PUNCTUATION)
    buffer_reserve(out, room)
    payload = out.data + start + HEADER_MAX
    if format == FORMAT_JSON:
        end = put_json(payload, sub, update, price_exp, size_exp)
    else:
        end = put_msgpack(payload, sub, update)
    head = put_header(out.data + start, <uint8_t>format, end - payload)
    memmove(out.data + start + head, payload, <size_t>(end - payload))
    out.size = start + head + (end - payload)
    return start


cdef char* put_msgpack(char* at, uint64_t sub, const Update* update) noexcept nogil:
    at = pack_uint(pack_uint(pack_array(at, 8), 1), sub)
    at = pack_uint(pack_uint(pack_uint(at, update.first), update.last), update.ts_us)
    memcpy(at, update.bids.at, <size_t>update.bids.size)
    at += update.bids.size
    memcpy(at, update.asks.at, <size_t>update.asks.size)
    return pack_uint(at + update.asks.size, 0)


cdef char* put_json(char* at, uint64_t sub, const Update* update, int price_exp, int size_exp) noexcept nogil:
    at = put_uint(put_text(at, b'{"type":"delta","sub":'), sub)
    at = put_uint(put_text(at, b',"first":'), update.first)
    at = put_uint(put_text(at, b',"last":'), update.last)
    at = put_uint(put_text(at, b',"ts":'), update.ts_us)
    at = put_levels(put_text(at, b',"bids":['), &update.bids, price_exp, size_exp)
    at = put_levels(put_text(at, b'],"asks":['), &update.asks, price_exp, size_exp)
    return put_text(at, b'],"crc":0}')


cdef char* put_levels(char* at, const Slice* levels, int price_exp, int size_exp) noexcept nogil:
    cdef Cursor cursor
    cdef Py_ssize_t i, count
    cdef int64_t ticks = 0, lots = 0
    slice_cursor(levels, &cursor)
    count = msgpack_list(&cursor) // 2
    for i in range(count):
        msgpack_number(&cursor, &ticks)
        msgpack_number(&cursor, &lots)
        at = put_decimal(put_text(at, b'["'), ticks, price_exp)
        at = put_decimal(put_text(at, b'","'), lots, size_exp)
        at = put_text(at, b'"],') if i + 1 < count else put_text(at, b'"]')
    return at
