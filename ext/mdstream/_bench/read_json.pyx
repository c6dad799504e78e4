from mdstream._bench.message cimport (
    DELTA_HEAD, KIND_DELTA, KIND_SNAPSHOT, SNAPSHOT_HEAD, HAS_TYPE, slice_is, take_flag, take_list, take_number, take_text,
)
from mdstream._core.orderbook.levels cimport MAX_NUMBER, levels_append


cdef inline void skip_space(Text* text) noexcept nogil:
    while text.at < text.end and (text.at[0] == c" " or 9 <= text.at[0] <= 13):
        text.at += 1


cdef bint json_expect(Text* text, uint8_t byte) noexcept nogil:
    skip_space(text)
    if text.at >= text.end or text.at[0] != byte:
        return False
    text.at += 1
    return True


cdef bint json_string(Text* text, Slice* out) noexcept nogil:
    if not json_expect(text, c'"'):
        return False
    out.at = text.at
    while text.at < text.end and text.at[0] != c'"':
        text.at += 2 if text.at[0] == c"\\" else 1
    if text.at >= text.end:
        return False
    out.size = text.at - out.at
    text.at += 1
    return True


cdef bint json_skip(Text* text) noexcept nogil:
    """Skips one value of any type."""
    cdef Slice ignored
    cdef int depth = 0
    cdef uint8_t byte
    skip_space(text)
    while text.at < text.end:
        byte = text.at[0]
        if byte == c'"':
            if not json_string(text, &ignored):
                return False
        elif byte == c"[" or byte == c"{":
            depth += 1
            text.at += 1
        elif depth and (byte == c"]" or byte == c"}"):
            depth -= 1
            text.at += 1
        elif depth == 0:
            return skip_word(text)
        else:
            text.at += 1
        if depth == 0:
            return True
    return False


cdef bint skip_word(Text* text) noexcept nogil:
    """A number, true, false or null."""
    cdef const uint8_t* start = text.at
    while text.at < text.end and text.at[0] > c" " and text.at[0] != c"," and text.at[0] != c"}" and text.at[0] != c"]":
        text.at += 1
    return text.at > start


cdef bint take_integer(Text* text, int64_t* out) noexcept nogil:
    """Reads an integer in the contract's range; False for a fraction or an exponent."""
    cdef const uint8_t* start
    cdef bint negative = text.at < text.end and text.at[0] == c"-"
    cdef uint64_t number = 0
    text.at += negative
    start = text.at
    while text.at < text.end and c"0" <= text.at[0] <= c"9" and text.at - start < 17:
        number = number * 10 + (text.at[0] - c"0")
        text.at += 1
    if text.at == start or number > <uint64_t>MAX_NUMBER:
        return False
    out[0] = -<int64_t>number if negative else <int64_t>number
    return text.at == text.end or not (c"0" <= text.at[0] <= c"9" or text.at[0] == c"." or text.at[0] | 32 == c"e")


cdef bint json_number(Text* text, int64_t* out) noexcept nogil:
    while text.at < text.end and not (c"0" <= text.at[0] <= c"9" or text.at[0] == c"-"):
        text.at += 1
    return text.at < text.end and take_integer(text, out)


cdef int json_message(const uint8_t* at, Py_ssize_t size, bint whole, Message* out) noexcept nogil:
    cdef Text text = Text(at, at + size)
    if size < 2 or at[size - 1] != c"}" or not json_expect(&text, c"{"):
        return -1
    while read_pair(&text, out):
        if not whole and (out.kind == KIND_DELTA and out.has & DELTA_HEAD == DELTA_HEAD
                          or out.kind == KIND_SNAPSHOT and out.has & SNAPSHOT_HEAD == SNAPSHOT_HEAD):
            return 1
        if not json_expect(&text, c","):
            break
    return 1 if json_expect(&text, c"}") and text.at == text.end and out.has & HAS_TYPE else -1


cdef bint read_pair(Text* text, Message* out) noexcept nogil:
    cdef Slice key, value
    cdef int64_t number
    cdef uint8_t byte
    if not json_string(text, &key) or not json_expect(text, c":"):
        return False
    skip_space(text)
    if text.at >= text.end:
        return False
    byte = text.at[0]
    if byte == c'"':
        if not json_string(text, &value):
            return False
        take_text(out, &key, &value)
        return True
    if byte == c"-" or c"0" <= byte <= c"9":
        if not take_integer(text, &number):
            return False
        take_number(out, &key, number)
        return True
    value.at = text.at
    if not json_skip(text):
        return False
    value.size = text.at - value.at
    if byte == c"[":
        take_list(out, &key, &value)
    elif byte == c"t" or byte == c"f":
        take_flag(out, &key, slice_is(&value, b"true", 4))
    return True


cdef int json_levels(const Slice* rows, int64_t price_exp, int64_t size_exp, Levels* out) except -1 nogil:
    cdef Text text = Text(rows.at, rows.at + rows.size)
    cdef int64_t ticks = 0, lots = 0
    cdef int problem
    out.count = 0
    if not json_expect(&text, c"["):
        return 0
    if json_expect(&text, c"]"):
        return 1
    while True:
        if not json_expect(&text, c"["):
            return 0
        problem = decimal(&text, price_exp, &ticks)
        if problem > 0:
            problem = decimal(&text, size_exp, &lots) if json_expect(&text, c",") else 0
        if problem <= 0:
            return problem
        if not json_expect(&text, c"]"):
            return 0
        levels_append(out, ticks, lots)
        if not json_expect(&text, c","):
            return json_expect(&text, c"]")


cdef int decimal(Text* text, int64_t exp, int64_t* out) noexcept nogil:
    """Reads ``"64123.10"`` as a multiple of 10^exp: 1, 0 if it is not a decimal, -2 if it does not have exactly -exp decimals."""
    cdef Slice digits
    cdef Py_ssize_t i, _i, point = -1
    cdef int64_t number = 0
    cdef bint negative
    if not json_string(text, &digits) or digits.size == 0:
        return 0
    negative = digits.at[0] == c"-"
    for i in range(negative, digits.size):
        if digits.at[i] == c"." and point < 0:
            point = i
        elif not c"0" <= digits.at[i] <= c"9" or number > MAX_NUMBER:
            return 0
        else:
            number = number * 10 + (digits.at[i] - c"0")
    if (digits.size - 1 - point if point >= 0 else 0) != (-exp if exp < 0 else 0):
        return -2
    for _i in range(exp):
        if number % 10:
            return -2
        number //= 10
    out[0] = -number if negative else number
    return 1


cdef bint json_trades(const Slice* rows, uint64_t first, uint64_t last, uint64_t* ts_us) noexcept nogil:
    cdef Text text = Text(rows.at, rows.at + rows.size)
    cdef Text row
    cdef int64_t seq = 0, ts = 0
    cdef uint64_t wanted = first
    if not json_expect(&text, c"["):
        return False
    while wanted <= last:
        row = text
        if not json_expect(&row, c"[") or not json_number(&row, &seq) or not json_number(&row, &ts) or <uint64_t>seq != wanted:
            return False
        wanted += 1
        if not json_skip(&text) or wanted <= last and not json_expect(&text, c","):
            return False
    ts_us[0] = <uint64_t>ts
    return json_expect(&text, c"]")
