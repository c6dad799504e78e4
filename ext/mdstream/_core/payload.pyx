from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport isfinite
from libc.stdint cimport int8_t
from libc.string cimport memset

from mdstream._core.levels cimport MAX_NUMBER, levels_free, levels_reserve, levels_to_list
from mdstream._core.trades cimport TRADE_ID_MAX, trade_id, trade_set_integer_id, trade_set_text_id

from collections import namedtuple

from mdstream.errors import PayloadError
from mdstream.model import MAX_EXPONENT, Ref, VenueState

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline uint64_t mdstream_load_be64(const uint8_t* at) {
        uint64_t word;
        memcpy(&word, at, 8);
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    """
    uint64_t load_be64 "mdstream_load_be64" (const uint8_t* at) noexcept nogil

cdef extern from "Python.h":
    double PyFloat_Unpack4(const char* number, int little_endian) except? -1.0
    double PyFloat_Unpack8(const char* number, int little_endian) except? -1.0

cdef enum Tag:
    TAG_BOOK = 1
    TAG_SNAP = 2
    TAG_TRADE = 3
    TAG_STATUS = 5

cdef enum:
    REF_MAX_BYTES = 65536       # of a whole `ref` payload
    REF_MAX_DEPTH = 8           # containers inside one another
    TEXT_MAX = 1024             # bytes of a name, a state or a reason

cdef enum Fault:                # why no number was read
    FAULT_NONE = 0
    FAULT_END
    FAULT_TYPE

cdef struct Integer:
    uint64_t bits               # two's complement
    bint negative


# ---- refusals

cdef int refuse(const Cursor* cursor, const uint8_t* at, str field, str why) except -1:
    cdef Py_ssize_t offset = at - cursor.start
    name = <object> cursor.name
    raise PayloadError(
        f"{name} payload, value {cursor.value}, {field}, byte {offset}: {why}", offset=offset, value=cursor.value
    )


cdef int refuse_end(const Cursor* cursor, str field) except -1:
    return refuse(cursor, cursor.end, field, "the payload ends here")


cdef int refuse_type(const Cursor* cursor, str field, str wanted) except -1:
    return refuse(cursor, cursor.at, field, f"must be {wanted}, not {form_of(cursor.at[0])}")


cdef str form_of(uint8_t head):
    """What kind of value a MessagePack head byte begins."""
    if head < 0x80 or head >= 0xE0 or 0xCC <= head <= 0xD3:
        return "an integer"
    if head < 0x90 or head >= 0xDE:
        return "a map"
    if head < 0xA0 or head >= 0xDC:
        return "an array"
    if head < 0xC0 or head >= 0xD9:
        return "a string"
    return (
        "nil", "the unused byte 0xc1", "a boolean", "a boolean", "binary", "binary", "binary", "an extension", "an extension",
        "an extension", "a float", "a float",
    )[head - 0xC0] if head < 0xCC else "an extension"


# ---- the forms of MessagePack

cdef inline Fault read_integer(Cursor* cursor, Integer* out) noexcept nogil:
    """Any integer in any of its forms; moves on if it could be read."""
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t left = cursor.end - at
    cdef uint8_t head
    cdef int size, i
    cdef uint64_t word
    if left < 1:
        return FAULT_END
    head = at[0]
    if head < 0x80 or head >= 0xE0:
        out.bits = <uint64_t> <int64_t> <int8_t> head
        out.negative = head >= 0xE0
        cursor.at = at + 1
        return FAULT_NONE
    if head < 0xCC or head > 0xD3:
        return FAULT_TYPE
    size = 1 << (head & 3)
    if left >= 9:
        word = load_be64(at + 1)
    elif left > size:
        word = 0
        for i in range(size):
            word |= <uint64_t> at[1 + i] << (56 - 8 * i)
    else:
        return FAULT_END
    if head >= 0xD0:
        out.bits = <uint64_t> (<int64_t> word >> (64 - 8 * size))
        out.negative = <int64_t> word < 0
    else:
        out.bits = word >> (64 - 8 * size)
        out.negative = False
    cursor.at = at + 1 + size
    return FAULT_NONE


cdef int refuse_number(Cursor* cursor, const uint8_t* at, Fault fault, const Integer* number, str field,
                       int64_t low, int64_t high) except -1:
    if fault == FAULT_END:
        return refuse_end(cursor, field)
    if fault == FAULT_TYPE:
        return refuse_type(cursor, field, "an integer")
    allowed = f"must be {low}" if low == high else f"must be {low} to {high}"
    return refuse(cursor, at, field, f"{allowed}, not {to_object(number)}")


cdef object to_object(const Integer* number):
    if number.negative:
        return <int64_t> number.bits
    return number.bits


cdef int64_t read_number(Cursor* cursor, str field, int64_t low, int64_t high) except? -1:
    cdef const uint8_t* at = cursor.at
    cdef Integer number
    cdef Fault fault = read_integer(cursor, &number)
    if fault != FAULT_NONE or not in_range(&number, low, high):
        refuse_number(cursor, at, fault, &number, field, low, high)
    return <int64_t> number.bits


cdef inline bint in_range(const Integer* number, int64_t low, int64_t high) noexcept nogil:
    # Without the sign's bit a number beyond 2^63 - 1 would read as a negative one.
    return low <= <int64_t> number.bits <= high and (number.negative or <int64_t> number.bits >= 0)


cdef Py_ssize_t read_head(Cursor* cursor, str field, str wanted, uint8_t fix, uint8_t fix_count, uint8_t wide) except -1:
    """The length of an array, map or string: a ``fix`` form holding up to ``fix_count``, or 16 or 32 bits after ``wide``."""
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t left = cursor.end - at
    if left < 1:
        refuse_end(cursor, field)
    if fix <= at[0] <= fix + fix_count:
        cursor.at = at + 1
        return at[0] - fix
    if at[0] != wide and at[0] != wide + 1:
        refuse_type(cursor, field, wanted)
    if left < (3 if at[0] == wide else 5):
        refuse_end(cursor, field)
    if at[0] == wide:
        cursor.at = at + 3
        return <Py_ssize_t> at[1] << 8 | at[2]
    cursor.at = at + 5
    return <Py_ssize_t> at[1] << 24 | <Py_ssize_t> at[2] << 16 | <Py_ssize_t> at[3] << 8 | at[4]


cdef Py_ssize_t read_count(Cursor* cursor, str field, str wanted, uint8_t fix, uint8_t wide) except -1:
    """The number of items of an array or map; every item takes a byte, so a greater count than that is a lie."""
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t count = read_head(cursor, field, wanted, fix, 15, wide)
    if count > cursor.end - cursor.at:
        refuse(cursor, at, field, f"{count} items are announced, {cursor.end - cursor.at} bytes follow")
    return count


cdef Py_ssize_t read_array(Cursor* cursor, str field) except -1:
    return read_count(cursor, field, "an array", 0x90, 0xDC)


cdef Py_ssize_t read_map(Cursor* cursor, str field) except -1:
    return read_count(cursor, field, "a map", 0x80, 0xDE)


cdef Py_ssize_t read_text(Cursor* cursor, str field, Py_ssize_t longest, const uint8_t** text) except -1:
    """The size of a string of at most ``longest`` bytes; ``text`` is where it stands. Its UTF-8 is not checked."""
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t size
    if at < cursor.end and at[0] == 0xD9:
        if cursor.end - at < 2:
            refuse_end(cursor, field)
        size = at[1]
        cursor.at = at + 2
    else:
        size = read_head(cursor, field, "a string", 0xA0, 31, 0xDA)
    if size > longest:
        refuse(cursor, at, field, f"is {size} bytes long, more than {longest}")
    if size > cursor.end - cursor.at:
        refuse_end(cursor, field)
    text[0] = cursor.at
    cursor.at += size
    return size


cdef str read_str(Cursor* cursor, str field, Py_ssize_t longest):
    cdef const uint8_t* text = NULL
    cdef Py_ssize_t size = read_text(cursor, field, longest, &text)
    return decode_text(cursor, field, text, size)


cdef str decode_text(const Cursor* cursor, str field, const uint8_t* text, Py_ssize_t size):
    try:
        return PyUnicode_DecodeUTF8(<const char*> text, size, NULL)
    except UnicodeDecodeError as error:
        refuse(cursor, text + <Py_ssize_t> error.start, field, "is not UTF-8")


# ---- values

cdef void cursor_open(Cursor* cursor, str name, const char* payload, Py_ssize_t size) noexcept:
    cursor.start = cursor.at = <const uint8_t*> payload
    cursor.end = cursor.start + size
    cursor.value = -1
    cursor.name = <PyObject*> name


cdef inline bint more(Cursor* cursor) noexcept nogil:
    """Steps to the next value. The first is always there to be asked for: an empty payload is none."""
    if cursor.at == cursor.end and cursor.value >= 0:
        return False
    cursor.value += 1
    return True


cdef inline int open_value(Cursor* cursor, Tag tag, Py_ssize_t fields) except -1:
    """Steps to the next value and reads its array head and type; 0 at the end."""
    if not more(cursor):
        return 0
    check_head(cursor, fields)
    read_number(cursor, "type", tag, tag)
    return 1


cdef int check_head(Cursor* cursor, Py_ssize_t fields) except -1:
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t count = read_array(cursor, "the value")
    if count != fields:
        refuse(cursor, at, "the value", f"has {count} fields, not {fields}")
    return 0


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
    return 0


cdef int next_book(Cursor* cursor, BookUpdate* out) except -1:
    cdef const uint8_t* at
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
    read_levels(cursor, "bids", 1, &out.bids)
    read_levels(cursor, "asks", 1, &out.asks)
    return 1


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


# ---- rare streams, straight to Python

cdef object read_status(Cursor* cursor):
    cdef const uint8_t* at
    epoch = read_number(cursor, "epoch", 1, MAX_NUMBER)
    ts_us = read_number(cursor, "ts", 0, MAX_NUMBER)
    at = cursor.at
    state = read_str(cursor, "state", TEXT_MAX)
    if state not in VENUE_STATES:
        refuse(cursor, at, "state", f"{state!r} is none of {', '.join(VENUE_STATES)}")
    if cursor.at < cursor.end and cursor.at[0] == 0xC0:         # nil: no reason
        cursor.at += 1
        return StatusValue(epoch, ts_us, VenueState(state), "")
    return StatusValue(epoch, ts_us, VenueState(state), read_str(cursor, "reason", TEXT_MAX))


cdef object read_ref(Cursor* cursor):
    cdef const uint8_t* start = cursor.at
    cdef dict items = {}
    cdef Py_ssize_t size = cursor.end - cursor.start
    if size > REF_MAX_BYTES:
        refuse(cursor, start, "the value", f"{size} bytes are more than {REF_MAX_BYTES}")
    for _ in range(read_map(cursor, "the value")):
        key = read_key(cursor, "the value", items)
        items[key] = read_ref_item(cursor, key)
    for key in ("price_exp", "size_exp"):
        if key not in items:
            refuse(cursor, start, key, "is missing")
    known = {key: items.pop(key) for key in REF_KEYS if key in items}
    return Ref(**known, extra=items)


cdef object read_ref_item(Cursor* cursor, str key):
    if key == "price_exp" or key == "size_exp":
        return read_number(cursor, key, -MAX_EXPONENT, MAX_EXPONENT)
    if key == "tick" or key == "lot":
        return read_number(cursor, key, 1, MAX_NUMBER)
    if key == "name":
        return read_str(cursor, key, TEXT_MAX)
    return read_any(cursor, key, 1)


cdef str read_key(Cursor* cursor, str field, dict seen):
    cdef const uint8_t* at = cursor.at
    key = read_str(cursor, f"a key of {field}", TEXT_MAX)
    if key in seen:
        refuse(cursor, at, f"a key of {field}", f"{key!r} stands twice")
    return key


cdef object read_any(Cursor* cursor, str field, int depth):
    """Any value that JSON could pass on as well."""
    cdef uint8_t head
    if cursor.at == cursor.end:
        refuse_end(cursor, field)
    head = cursor.at[0]
    if head < 0x80 or head >= 0xE0 or 0xCC <= head <= 0xD3:
        return read_any_integer(cursor, field)
    if head == 0xC0 or head == 0xC2 or head == 0xC3:
        cursor.at += 1
        return None if head == 0xC0 else head == 0xC3
    if head == 0xCA or head == 0xCB:
        return read_float(cursor, field)
    if 0xA0 <= head < 0xC0 or 0xD9 <= head <= 0xDB:
        return read_str(cursor, field, REF_MAX_BYTES)
    if depth > REF_MAX_DEPTH:
        refuse(cursor, cursor.at, field, f"lies more than {REF_MAX_DEPTH} deep")
    if 0x90 <= head < 0xA0 or head == 0xDC or head == 0xDD:
        return [read_any(cursor, field, depth + 1) for _ in range(read_array(cursor, field))]
    if head < 0x90 or head == 0xDE or head == 0xDF:
        return read_any_map(cursor, field, depth)
    refuse_type(cursor, field, "nil, a boolean, a number, a string, an array or a map")


cdef object read_any_integer(Cursor* cursor, str field):
    cdef Integer number = Integer(0, False)
    if read_integer(cursor, &number) != FAULT_NONE:
        refuse_end(cursor, field)
    return to_object(&number)


cdef object read_float(Cursor* cursor, str field):
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t size = 4 if at[0] == 0xCA else 8
    cdef const char* number = <const char*> at + 1
    cdef double value
    if cursor.end - at <= size:
        refuse_end(cursor, field)
    value = PyFloat_Unpack4(number, 0) if size == 4 else PyFloat_Unpack8(number, 0)
    if not isfinite(value):
        refuse(cursor, at, field, f"{value} is no finite number")
    cursor.at = at + 1 + size
    return value


cdef dict read_any_map(Cursor* cursor, str field, int depth):
    cdef dict items = {}
    for _ in range(read_map(cursor, field)):
        key = read_key(cursor, field, items)
        items[key] = read_any(cursor, key, depth + 1)
    return items


# ---- Python

REF_KEYS = ("price_exp", "size_exp", "tick", "lot", "name")
VENUE_STATES = tuple(state.value for state in VenueState)

BookValue = namedtuple("BookValue", "epoch first last ts_us bids asks", module=__name__)
SnapValue = namedtuple("SnapValue", "epoch seq ts_us bids asks", module=__name__)
TradeValue = namedtuple("TradeValue", "epoch seq ts_us price_ticks size_lots side trade_id", module=__name__)
StatusValue = namedtuple("StatusValue", "epoch ts_us state reason", module=__name__)


def decode_payload(str stream not None, bytes payload not None):
    cdef Cursor cursor
    cdef list values = []
    cursor_open(&cursor, stream, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
    if stream == "book" or stream == "snap":
        decode_levels(&cursor, stream == "snap", values)
    elif stream == "trade":
        decode_trades(&cursor, values)
    elif stream == "status":
        while open_value(&cursor, TAG_STATUS, 5):
            values.append(read_status(&cursor))
    elif stream == "ref":
        while more(&cursor):
            values.append(read_ref(&cursor))
    else:
        raise ValueError(f"stream {stream!r} is none of book, trade, snap, ref, status")
    return values


cdef int decode_levels(Cursor* cursor, bint snap, list values) except -1:
    cdef BookUpdate update
    memset(&update, 0, sizeof(update))
    try:
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
