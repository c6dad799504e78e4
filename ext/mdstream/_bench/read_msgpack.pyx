from mdstream._bench.message cimport (
    BOOK_BODY, DELTA_HEAD, HAS_ROWS, HAS_TYPE, KIND_DELTA, KIND_HEARTBEAT, KIND_SNAPSHOT, KIND_TICKER, KIND_TRADES, SNAPSHOT_HEAD, TRADES_HEAD,
    big_endian, take_flag, take_number, take_text,
)
from mdstream._core.codec.msgpack_reader cimport FAULT_NONE, Integer, in_range, read_integer
from mdstream._core.orderbook.levels cimport MAX_NUMBER, levels_reserve


cdef void slice_cursor(const Slice* slice, Cursor* cursor) noexcept nogil:
    cursor.start = cursor.at = slice.at
    cursor.end = slice.at + slice.size
    cursor.value = -1
    cursor.name = NULL              # no function here raises


cdef bint msgpack_number(Cursor* cursor, int64_t* out) noexcept nogil:
    cdef Integer number
    if read_integer(cursor, &number) != FAULT_NONE or not in_range(&number, -MAX_NUMBER, MAX_NUMBER):
        return False
    out[0] = <int64_t>number.bits
    return True


cdef inline bint unsigned_number(Cursor* cursor, uint64_t* out) noexcept nogil:
    cdef int64_t number = -1
    if not msgpack_number(cursor, &number) or number < 0:
        return False
    out[0] = <uint64_t>number
    return True


cdef Py_ssize_t msgpack_head(Cursor* cursor, uint8_t fix, uint8_t wide) noexcept nogil:
    cdef const uint8_t* at = cursor.at
    cdef int size
    if at >= cursor.end:
        return -1
    if at[0] & 0xF0 == fix:
        cursor.at += 1
        return at[0] & 15
    if at[0] != wide and at[0] != wide + 1:
        return -1
    size = 2 if at[0] == wide else 4
    if cursor.end - at <= size:
        return -1
    cursor.at += 1 + size
    return <Py_ssize_t>big_endian(at + 1, size)


cdef Py_ssize_t msgpack_list(Cursor* cursor) noexcept nogil:
    return msgpack_head(cursor, 0x90, 0xDC)


cdef bint msgpack_text(Cursor* cursor, Slice* out) noexcept nogil:
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t head = 1, size
    if at >= cursor.end:
        return False
    if at[0] & 0xE0 == 0xA0:
        size = at[0] & 31
    elif 0xD9 <= at[0] <= 0xDB:
        head += 1 << (at[0] - 0xD9)
        if cursor.end - at < head:
            return False
        size = <Py_ssize_t>big_endian(at + 1, <int>head - 1)
    else:
        return False
    if cursor.end - at - head < size:
        return False
    out.at = at + head
    out.size = size
    cursor.at = at + head + size
    return True


cdef bint msgpack_skip(Cursor* cursor) noexcept nogil:
    cdef uint64_t todo = 1
    cdef Py_ssize_t size
    cdef uint8_t head
    while todo:
        if cursor.at >= cursor.end:
            return False
        head = cursor.at[0]
        todo -= 1
        if head < 0x80 or head >= 0xE0:
            cursor.at += 1
        elif head < 0xA0 or 0xDC <= head:
            if 0x90 <= head <= 0xDD:
                size = msgpack_list(cursor)
            else:
                size = 2 * msgpack_head(cursor, 0x80, 0xDE)
            if size < 0 or size > cursor.end - cursor.at:
                return False
            todo += <uint64_t>size
        else:
            size = scalar_size(cursor)
            if size < 0 or size > cursor.end - cursor.at:
                return False
            cursor.at += size
    return True


cdef Py_ssize_t scalar_size(const Cursor* cursor) noexcept nogil:
    """The bytes of a value that is neither a small integer nor a container; -1: not a type of the contract."""
    cdef uint8_t head = cursor.at[0]
    cdef int width
    if head < 0xC0:
        return 1 + (head & 31)
    if head == 0xC0 or head == 0xC2 or head == 0xC3:
        return 1
    if 0xCC <= head <= 0xD3:
        return 1 + (1 << (head & 3))
    if head == 0xCA or head == 0xCB:
        return 5 if head == 0xCA else 9
    if 0xD9 <= head <= 0xDB:
        width = 1 << (head - 0xD9)
        return 1 + width + <Py_ssize_t>big_endian(cursor.at + 1, width) if cursor.end - cursor.at > width else -1
    return -1                       # the contract has no binary and no extension


cdef bint msgpack_slice(Cursor* cursor, Slice* out) noexcept nogil:
    cdef const uint8_t* start = cursor.at
    out.at = start
    if start >= cursor.end or not (start[0] & 0xF0 == 0x90 or 0xDC <= start[0] <= 0xDD) or not msgpack_skip(cursor):
        return False
    out.size = cursor.at - start
    return True


cdef int msgpack_next(Cursor* cursor, Message* out) noexcept nogil:
    cdef uint64_t kind = 0
    cdef Py_ssize_t count
    if cursor.at == cursor.end:
        return 0
    if cursor.at[0] & 0xF0 == 0x80 or cursor.at[0] >= 0xDE and cursor.at[0] < 0xE0:
        return read_control(cursor, out)
    count = msgpack_list(cursor)
    if count < 2 or not unsigned_number(cursor, &kind):
        return -1
    if kind == 1 and count == 8:
        return read_delta(cursor, out)
    if kind == 2 and count == 9:
        return read_snapshot(cursor, out)
    if kind == 3 and count == 6:
        return read_trades(cursor, out)
    if kind == 4 and count == 11:
        return read_ticker(cursor, out)
    return read_heartbeat(cursor, out) if kind == 5 and count == 3 else -1


cdef int read_delta(Cursor* cursor, Message* out) noexcept nogil:
    out.kind = KIND_DELTA
    out.has = DELTA_HEAD | BOOK_BODY
    return 1 if (
        msgpack_number(cursor, &out.sub) and unsigned_number(cursor, &out.first) and unsigned_number(cursor, &out.last)
        and unsigned_number(cursor, &out.ts_us) and msgpack_slice(cursor, &out.bids) and msgpack_slice(cursor, &out.asks)
        and unsigned_number(cursor, &out.crc)
    ) else -1


cdef int read_snapshot(Cursor* cursor, Message* out) noexcept nogil:
    cdef Slice reason
    out.kind = KIND_SNAPSHOT
    out.has = SNAPSHOT_HEAD | BOOK_BODY
    return 1 if (
        msgpack_number(cursor, &out.sub) and unsigned_number(cursor, &out.epoch) and unsigned_number(cursor, &out.last)
        and unsigned_number(cursor, &out.ts_us) and msgpack_slice(cursor, &out.bids) and msgpack_slice(cursor, &out.asks)
        and unsigned_number(cursor, &out.crc) and msgpack_text(cursor, &reason)
    ) else -1


cdef int read_trades(Cursor* cursor, Message* out) noexcept nogil:
    out.kind = KIND_TRADES
    out.has = TRADES_HEAD | HAS_ROWS
    return 1 if (
        msgpack_number(cursor, &out.sub) and unsigned_number(cursor, &out.epoch) and unsigned_number(cursor, &out.first)
        and unsigned_number(cursor, &out.last) and msgpack_slice(cursor, &out.rows)
    ) else -1


cdef int read_ticker(Cursor* cursor, Message* out) noexcept nogil:
    cdef int _i
    out.kind = KIND_TICKER
    out.has = SNAPSHOT_HEAD
    if not (
        msgpack_number(cursor, &out.sub) and unsigned_number(cursor, &out.epoch) and unsigned_number(cursor, &out.last)
        and unsigned_number(cursor, &out.ts_us)
    ):
        return -1
    for _i in range(6):
        if not msgpack_skip(cursor):
            return -1
    return 1


cdef int read_heartbeat(Cursor* cursor, Message* out) noexcept nogil:
    out.kind = KIND_HEARTBEAT
    out.has = HAS_TYPE | HAS_ROWS
    return 1 if unsigned_number(cursor, &out.ts_us) and msgpack_slice(cursor, &out.rows) else -1


cdef int read_control(Cursor* cursor, Message* out) noexcept nogil:
    cdef Py_ssize_t _i, count = msgpack_head(cursor, 0x80, 0xDE)
    cdef Slice key
    for _i in range(count):
        if not msgpack_text(cursor, &key) or not read_value(cursor, &key, out):
            return -1
    return 1 if count >= 0 and out.has & HAS_TYPE else -1


cdef bint read_value(Cursor* cursor, const Slice* key, Message* out) noexcept nogil:
    cdef const uint8_t* start = cursor.at
    cdef int64_t number
    cdef Slice text
    if start >= cursor.end:
        return False
    if msgpack_text(cursor, &text):
        take_text(out, key, &text)
        return True
    if start[0] == 0xC2 or start[0] == 0xC3:
        take_flag(out, key, start[0] == 0xC3)
    elif msgpack_number(cursor, &number):
        take_number(out, key, number)
        return True
    cursor.at = start
    return msgpack_skip(cursor)


cdef int msgpack_levels(const Slice* flat, Levels* out) except -1 nogil:
    cdef Cursor cursor
    cdef Py_ssize_t i, count
    slice_cursor(flat, &cursor)
    count = msgpack_list(&cursor)
    if count < 0 or count & 1:
        return 0
    levels_reserve(out, count // 2)
    for i in range(count):
        if not msgpack_number(&cursor, &out.values[i]):
            return 0
    out.count = count // 2
    return 1


cdef bint msgpack_trades(const Slice* rows, uint64_t first, uint64_t last, uint64_t* ts_us) noexcept nogil:
    cdef Cursor cursor
    cdef Py_ssize_t fields, count, _i
    cdef int64_t seq = 0, ts = 0
    cdef uint64_t wanted = first
    slice_cursor(rows, &cursor)
    count = msgpack_list(&cursor)
    while count > 0:
        fields = msgpack_list(&cursor)
        if fields != 6 or not msgpack_number(&cursor, &seq) or not msgpack_number(&cursor, &ts) or <uint64_t>seq != wanted:
            return False
        for _i in range(4):
            if not msgpack_skip(&cursor):
                return False
        wanted += 1
        count -= 1
    ts_us[0] = <uint64_t>ts
    return wanted == last + 1
