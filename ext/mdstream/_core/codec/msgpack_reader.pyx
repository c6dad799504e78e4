from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport isfinite

from mdstream.errors import PayloadError

cdef extern from "Python.h":
    double PyFloat_Unpack4(const char* number, int little_endian) except? -1.0
    double PyFloat_Unpack8(const char* number, int little_endian) except? -1.0

cdef enum:
    MAX_DEPTH = 8               # containers inside each other
    KEY_MAX = 1024              # bytes of a map's key


cdef bint cursor_more(Cursor* cursor) noexcept nogil:
    check(cursor.start <= cursor.at)
    check(cursor.at <= cursor.end)
    if cursor.at == cursor.end and cursor.value >= 0:
        return False
    cursor.value += 1
    return True


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
    return refuse(cursor, cursor.at, field, f"must be {wanted}, not {kind_of(cursor.at[0])}")


cdef str kind_of(uint8_t head):
    """The kind of value that begins with this byte."""
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


# ---- numbers and heads

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


cdef Py_ssize_t read_head(Cursor* cursor, str field, str wanted, uint8_t fix, uint8_t fix_count, uint8_t wide) except -1:
    """The length of an array, map or string: up to ``fix_count`` in the byte ``fix``, or 16 or 32 bits after ``wide``."""
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t left = cursor.end - at
    check(cursor.start <= at)
    check(left >= 0)
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


# ---- values of any kind

cdef str read_key(Cursor* cursor, str field, dict seen):
    cdef const uint8_t* at = cursor.at
    key = read_str(cursor, f"a key of {field}", KEY_MAX)
    if key in seen:
        refuse(cursor, at, f"a key of {field}", f"{key!r} stands twice")
    return key


cdef object read_any(Cursor* cursor, str field, int depth):
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
        return read_str(cursor, field, cursor.end - cursor.at)
    if depth > MAX_DEPTH:
        refuse(cursor, cursor.at, field, f"lies more than {MAX_DEPTH} deep")
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
