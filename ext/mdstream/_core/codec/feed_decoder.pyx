from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset

from mdstream._core.base.check cimport check
from mdstream._core.codec.msgpack_reader cimport (
    FAULT_END, FAULT_NONE, Fault, Integer, cursor_more, cursor_open, decode_text, in_range, read_any, read_array, read_integer,
    read_key, read_map, read_number, read_str, read_text, refuse, refuse_end, refuse_number, refuse_type, usual_number,
)
from mdstream._core.orderbook.levels cimport MAX_NUMBER, levels_free, levels_reserve, levels_to_list
from mdstream._core.orderbook.trade_log cimport TRADE_ID_MAX, trade_id, trade_set_integer_id, trade_set_text_id

from collections import namedtuple

from mdstream.model import MAX_EXPONENT, MAX_REF_BYTES, MAX_TEXT_BYTES, Ref, VenueState

cdef enum Tag:
    TAG_BOOK = 1
    TAG_SNAP = 2
    TAG_TRADE = 3
    TAG_STATUS = 5

cdef enum:
    FIX_ARRAY = 0x90            # MessagePack: an array, with up to 15 added for its count
    ARRAY_16 = 0xDC             # an array, its count in the next two bytes
    NUMBER_MOST = 9             # bytes of a number
    USUAL_LEVELS = 24           # of a side of an update


# ---- values

cdef inline int open_value(Cursor* cursor, Tag tag, Py_ssize_t fields) except -1:
    """Moves to the next value and reads its array head and type; 0 at the end."""
    if not cursor_more(cursor):
        return 0
    check_head(cursor, fields, fields)
    read_number(cursor, "type", tag, tag)
    return 1


cdef Py_ssize_t check_head(Cursor* cursor, Py_ssize_t fields, Py_ssize_t or_fields) except -1:
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t count = read_array(cursor, "the value")
    if count != fields and count != or_fields:
        allowed = f"{fields}" if fields == or_fields else f"{fields} or {or_fields}"
        refuse(cursor, at, "the value", f"has {count} fields, not {allowed}")
    return count


cdef int read_levels(Cursor* cursor, str field, int64_t least_lots, Levels* out) except -1:
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t numbers = read_array(cursor, field)
    cdef Py_ssize_t i
    cdef Integer number
    cdef Fault fault
    cdef int64_t low
    cdef int64_t* values
    if numbers & 1:
        refuse(cursor, at, field, f"{numbers} numbers are no pairs of ticks and lots")
    out.count = 0
    levels_reserve(out, numbers >> 1)
    values = out.values
    for i in range(numbers):
        at = cursor.at
        fault = read_integer(cursor, &number)
        low = least_lots if i & 1 else -MAX_NUMBER
        if fault != FAULT_NONE or not in_range(&number, low, MAX_NUMBER):
            field = f"{field}, {'lots' if i & 1 else 'ticks'} of level {i >> 1}"
            refuse_number(cursor, at, fault, &number, field, low, MAX_NUMBER)
        values[i] = <int64_t> number.bits
    out.count = numbers >> 1
    check(cursor.at <= cursor.end)
    return 0


# ---- the usual update of a book, fast; where this fails, the functions below find out why

cdef inline const uint8_t* plain_number(const uint8_t* at, const uint8_t* end, int64_t low, int64_t* out) noexcept nogil:
    """The end of a number that is in its range; else NULL."""
    cdef uint64_t value = 0
    cdef Py_ssize_t size = usual_number(at, &value) if end - at >= NUMBER_MOST else 0
    if size == 0:
        return any_number(at, end, low, out)
    out[0] = <int64_t> value
    return at + size if value <= <uint64_t> MAX_NUMBER and <int64_t> value >= low else NULL


cdef const uint8_t* any_number(const uint8_t* at, const uint8_t* end, int64_t low, int64_t* out) noexcept nogil:
    cdef Cursor cursor
    cdef Integer number
    cursor_open(&cursor, NULL, <const char*> at, end - at)
    if read_integer(&cursor, &number) != FAULT_NONE or not in_range(&number, low, MAX_NUMBER):
        return NULL
    out[0] = <int64_t> number.bits
    return cursor.at


cdef inline const uint8_t* plain_count(const uint8_t* at, const uint8_t* end, Py_ssize_t* count) noexcept nogil:
    """The end of the head of an array."""
    if at < end and FIX_ARRAY <= at[0] <= FIX_ARRAY + 15:
        count[0] = at[0] - FIX_ARRAY
        return at + 1
    if end - at >= 3 and at[0] == ARRAY_16:
        count[0] = <Py_ssize_t> at[1] << 8 | at[2]
        return at + 3
    return NULL


cdef const uint8_t* plain_levels(const uint8_t* at, const uint8_t* end, int64_t least_lots, Levels* out) noexcept nogil:
    cdef Py_ssize_t numbers = 0
    cdef Py_ssize_t i
    cdef int64_t* values = out.values
    at = plain_count(at, end, &numbers)
    if at == NULL or numbers & 1 or numbers > 2 * out.capacity:
        return NULL
    for i in range(0, numbers, 2):
        at = plain_number(at, end, -MAX_NUMBER, &values[i])
        if at != NULL:
            at = plain_number(at, end, least_lots, &values[i + 1])
        if at == NULL:
            return NULL
    out.count = numbers >> 1
    check(out.count <= out.capacity)
    check(at <= end)
    return at


cdef inline const uint8_t* plain_head(const uint8_t* at, const uint8_t* end, BookUpdate* out) noexcept nogil:
    """The end of the numbers that a value of stream book begins with."""
    if end - at < 2 or at[0] != FIX_ARRAY + 7 or at[1] != TAG_BOOK:
        return NULL
    at = plain_number(at + 2, end, 1, <int64_t*> &out.epoch)
    if at != NULL:
        at = plain_number(at, end, 1, <int64_t*> &out.first)
    if at != NULL:
        at = plain_number(at, end, <int64_t> out.first, <int64_t*> &out.last)
    return plain_number(at, end, 0, <int64_t*> &out.ts_us) if at != NULL else NULL


cdef bint plain_book(Cursor* cursor, BookUpdate* out) noexcept nogil:
    """Whether the next value was read; if not, the cursor has not moved."""
    cdef const uint8_t* end = cursor.end        # not through the cursor: the compiler keeps these in registers
    cdef const uint8_t* at = plain_head(cursor.at, end, out)
    if at != NULL:
        at = plain_levels(at, end, 0, &out.bids)
    if at != NULL:
        at = plain_levels(at, end, 0, &out.asks)
    if at == NULL:
        return False
    cursor.at = at
    cursor.value += 1
    return True


# ---- any value

cdef int next_book(Cursor* cursor, BookUpdate* out) except -1:
    cdef const uint8_t* at
    if plain_book(cursor, out):
        return 1
    if not open_value(cursor, TAG_BOOK, 7):
        return 0
    out.epoch = <uint64_t> read_number(cursor, "epoch", 1, MAX_NUMBER)
    out.first = <uint64_t> read_number(cursor, "first", 1, MAX_NUMBER)
    at = cursor.at
    out.last = <uint64_t> read_number(cursor, "last", 1, MAX_NUMBER)
    if out.first > out.last:
        refuse(cursor, at, "last", f"{out.last} is less than first, {out.first}")
    out.ts_us = <uint64_t> read_number(cursor, "ts", 0, MAX_NUMBER)
    read_levels(cursor, "bids", 0, &out.bids)
    read_levels(cursor, "asks", 0, &out.asks)
    return 1


cdef int next_snap(Cursor* cursor, BookUpdate* out) except -1:
    if not open_value(cursor, TAG_SNAP, 6):
        return 0
    out.epoch = <uint64_t> read_number(cursor, "epoch", 1, MAX_NUMBER)
    out.first = out.last = <uint64_t> read_number(cursor, "seq", 0, MAX_NUMBER)
    out.ts_us = <uint64_t> read_number(cursor, "ts", 0, MAX_NUMBER)
    read_snap_levels(cursor, "bids", &out.bids)
    read_snap_levels(cursor, "asks", &out.asks)
    return 1


cdef int read_snap_levels(Cursor* cursor, str field, Levels* out) except -1:
    cdef const uint8_t* at = plain_levels(cursor.at, cursor.end, 1, out)
    if at == NULL:
        return read_levels(cursor, field, 1, out)
    cursor.at = at
    return 0


cdef bint snap_head(const char* payload, Py_ssize_t size, uint64_t* epoch, uint64_t* seq) noexcept:
    cdef Cursor cursor
    cdef Integer number
    if size < 2 or <uint8_t> payload[0] != FIX_ARRAY + 6 or <uint8_t> payload[1] != TAG_SNAP:
        return False
    cursor_open(&cursor, NULL, payload + 2, size - 2)
    if read_integer(&cursor, &number) != FAULT_NONE or not in_range(&number, 1, MAX_NUMBER):
        return False
    epoch[0] = number.bits
    if read_integer(&cursor, &number) != FAULT_NONE or not in_range(&number, 0, MAX_NUMBER):
        return False
    seq[0] = number.bits
    return True


cdef int next_trade(Cursor* cursor, uint64_t* epoch, Trade* out) except -1:
    if not open_value(cursor, TAG_TRADE, 8):
        return 0
    epoch[0] = <uint64_t> read_number(cursor, "epoch", 1, MAX_NUMBER)
    out.seq = <uint64_t> read_number(cursor, "seq", 1, MAX_NUMBER)
    out.ts_us = <uint64_t> read_number(cursor, "ts", 0, MAX_NUMBER)
    out.price_ticks = read_number(cursor, "price_ticks", -MAX_NUMBER, MAX_NUMBER)
    out.size_lots = read_number(cursor, "size_lots", 0, MAX_NUMBER)
    out.side = <uint8_t> read_number(cursor, "side", 0, 2)
    read_trade_id(cursor, out)
    return 1


cdef int read_trade_id(Cursor* cursor, Trade* out) except -1:
    cdef const uint8_t* text = NULL
    cdef Py_ssize_t size
    cdef Integer number
    cdef Fault fault = read_integer(cursor, &number)
    if fault == FAULT_NONE:
        trade_set_integer_id(out, number.bits, number.negative)
        return 0
    if fault == FAULT_END:
        refuse_end(cursor, "trade_id")
    if not (0xA0 <= cursor.at[0] < 0xC0 or 0xD9 <= cursor.at[0] <= 0xDB):
        refuse_type(cursor, "trade_id", "a string or an integer")
    size = read_text(cursor, "trade_id", TRADE_ID_MAX - 2, &text)
    if not is_ascii(text, size):
        decode_text(cursor, "trade_id", text, size)
    trade_set_text_id(out, <const char*> text, size)
    return 0


cdef inline bint is_ascii(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef uint8_t seen = 0
    cdef Py_ssize_t i
    for i in range(size):
        seen |= text[i]
    return seen < 0x80


# ---- rare streams, to Python objects

cdef object read_status(Cursor* cursor):
    cdef Py_ssize_t fields = check_head(cursor, 5, 8)
    read_number(cursor, "type", TAG_STATUS, TAG_STATUS)
    epoch = read_number(cursor, "epoch", 1, MAX_NUMBER)
    ts_us = read_number(cursor, "ts", 0, MAX_NUMBER)
    state = read_state(cursor)
    reason = read_reason(cursor)
    if fields == 5:
        return StatusValue(epoch, ts_us, state, reason)
    book_seq = read_number(cursor, "book_seq", 0, MAX_NUMBER)
    trade_seq = read_number(cursor, "trade_seq", 0, MAX_NUMBER)
    return StatusValue(epoch, ts_us, state, reason, book_seq, trade_seq, read_heard(cursor, ts_us))


cdef object read_state(Cursor* cursor):
    cdef const uint8_t* at = cursor.at
    state = read_str(cursor, "state", MAX_TEXT_BYTES)
    if state not in VENUE_STATES:
        refuse(cursor, at, "state", f"{state!r} is none of {', '.join(VENUE_STATES)}")
    return VenueState(state)


cdef str read_reason(Cursor* cursor):
    if cursor.at < cursor.end and cursor.at[0] == 0xC0:         # nil: no reason
        cursor.at += 1
        return ""
    return read_str(cursor, "reason", MAX_TEXT_BYTES)


cdef int64_t read_heard(Cursor* cursor, int64_t ts_us) except -1:
    cdef const uint8_t* at = cursor.at
    cdef int64_t heard_us = read_number(cursor, "heard", 0, MAX_NUMBER)
    if heard_us > ts_us:
        refuse(cursor, at, "heard", f"{heard_us} is later than ts, {ts_us}")
    return heard_us


cdef object read_ref(Cursor* cursor):
    cdef const uint8_t* start = cursor.at
    cdef dict items = {}
    cdef Py_ssize_t size = cursor.end - cursor.start
    if size > MAX_REF_BYTES:
        refuse(cursor, start, "the value", f"{size} bytes are more than {MAX_REF_BYTES}")
    for _ in range(read_map(cursor, "the value")):
        key = read_key(cursor, "the value", items)
        items[key] = read_ref_item(cursor, key)
    for key in ("epoch", "price_exp", "size_exp"):
        if key not in items:
            refuse(cursor, start, key, "is missing")
    known = {key: items.pop(key) for key in REF_KEYS if key in items}
    return Ref(**known, extra=items)


cdef object read_ref_item(Cursor* cursor, str key):
    if key == "price_exp" or key == "size_exp":
        return read_number(cursor, key, -MAX_EXPONENT, MAX_EXPONENT)
    if key == "epoch" or key == "tick" or key == "lot":
        return read_number(cursor, key, 1, MAX_NUMBER)
    if key == "depth":
        return read_number(cursor, key, 0, MAX_NUMBER)
    if key == "name":
        return read_str(cursor, key, MAX_TEXT_BYTES)
    return read_any(cursor, key, 1)


# ---- Python

REF_KEYS = ("price_exp", "size_exp", "tick", "lot", "name", "epoch", "depth")
VENUE_STATES = tuple(state.value for state in VenueState)

BookValue = namedtuple("BookValue", "epoch first last ts_us bids asks", module=__name__)
BookValue.__doc__ = "An atomic update of a book; levels flat, ``[ticks, lots, …]``, lots 0 deletes."
SnapValue = namedtuple("SnapValue", "epoch seq ts_us bids asks", module=__name__)
SnapValue.__doc__ = "The full book at ``seq``. ``Book.load`` checks that levels are best first and do not cross."
TradeValue = namedtuple("TradeValue", "epoch seq ts_us price_ticks size_lots side trade_id", module=__name__)
TradeValue.__doc__ = "A trade; side 0 unknown, 1 buy (the buyer took), 2 sell."
StatusValue = namedtuple(
    "StatusValue", "epoch ts_us state reason book_seq trade_seq heard_us", defaults=(None, None, None), module=__name__
)
StatusValue.__doc__ = """The venue's status of an instrument; ``reason`` is empty if none was given.

The newest numbers and ``heard_us``, when the venue was last heard by the writer's clock (never later than ``ts_us``), are None in
the form of five values.
"""


def decode_payload(str stream not None, bytes payload not None):
    """The values of one NATS payload of ``stream``: book, snap, trade, status or ref; ValueError for another.

    Raises PayloadError for bytes that the contract does not allow, and for an empty payload. ``ref`` may hold only what JSON
    has as well: no binary, no extension, no infinity.
    """
    cdef Cursor cursor
    cdef list values = []
    cursor_open(&cursor, <PyObject*> stream, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
    if stream == "book" or stream == "snap":
        decode_levels(&cursor, stream == "snap", values)
    elif stream == "trade":
        decode_trades(&cursor, values)
    elif stream == "status":
        while cursor_more(&cursor):
            values.append(read_status(&cursor))
    elif stream == "ref":
        while cursor_more(&cursor):
            values.append(read_ref(&cursor))
    else:
        raise ValueError(f"stream {stream!r} is none of book, trade, snap, ref, status")
    return values


cdef int decode_levels(Cursor* cursor, bint snap, list values) except -1:
    cdef BookUpdate update
    memset(&update, 0, sizeof(update))
    try:
        levels_reserve(&update.bids, USUAL_LEVELS)      # so that plain_book reads it, as it reads live updates
        levels_reserve(&update.asks, USUAL_LEVELS)
        while next_snap(cursor, &update) if snap else next_book(cursor, &update):
            bids, asks = levels_to_list(&update.bids), levels_to_list(&update.asks)
            if snap:
                values.append(SnapValue(update.epoch, update.last, update.ts_us, bids, asks))
            else:
                values.append(BookValue(update.epoch, update.first, update.last, update.ts_us, bids, asks))
    finally:
        levels_free(&update.bids)
        levels_free(&update.asks)
    return 0


cdef int decode_trades(Cursor* cursor, list values) except -1:
    cdef Trade trade
    cdef uint64_t epoch = 0
    while next_trade(cursor, &epoch, &trade):
        values.append(TradeValue(
            epoch, trade.seq, trade.ts_us, trade.price_ticks, trade.size_lots, trade.side, trade_id(&trade)
        ))
    return 0
