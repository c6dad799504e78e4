"""Reads MessagePack values from a payload, one after the other.

Nothing is read past the end; the payload's size bounds what is allocated. The only exception is PayloadError. It names whose
payload it is, the value, the field and the byte.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int64_t, uint8_t, uint64_t

from mdstream._core.base.check cimport check

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* An unsigned number by its first byte: its bytes in all, 0 if it is none; the shift that leaves its value of the eight bytes
       after the first. */
    struct mdstream_unsigned { uint8_t size, shift; };
    static const struct mdstream_unsigned MDSTREAM_UNSIGNED[256] = {
        [0 ... 0x7f] = {1, 0}, [0xcc] = {2, 56}, [0xcd] = {3, 48}, [0xce] = {5, 32}, [0xcf] = {9, 0}};

    static inline uint64_t mdstream_load_be64(const uint8_t* at) {
        uint64_t word;
        memcpy(&word, at, 8);
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        word = __builtin_bswap64(word);
    #endif
        return word;
    }
    """
    struct Unsigned "mdstream_unsigned":
        uint8_t size
        uint8_t shift
    const Unsigned[256] UNSIGNED "MDSTREAM_UNSIGNED"
    uint64_t load_be64 "mdstream_load_be64" (const uint8_t* at) noexcept nogil

cdef struct Cursor:
    const uint8_t* start
    const uint8_t* at
    const uint8_t* end
    Py_ssize_t value            # index of the value being read
    PyObject* name              # borrowed; whose payload it is

cdef enum Fault:                # why a number was not read
    FAULT_NONE = 0
    FAULT_END
    FAULT_TYPE

cdef struct Integer:
    uint64_t bits               # two's complement
    bint negative


cdef inline void cursor_open(Cursor* cursor, PyObject* name, const char* payload, Py_ssize_t size) noexcept nogil:
    """``name``, a str (an instrument and a stream, or a word), must outlive the cursor. Only a refusal touches it: over many
    instruments anything else would cost one more cache line for each payload."""
    check(size >= 0)
    cursor.start = cursor.at = <const uint8_t*> payload
    cursor.end = cursor.start + size
    cursor.value = -1
    cursor.name = name


# Moves to the next value; False at the end. True for the first value of an empty payload, which reading it refuses.
cdef bint cursor_more(Cursor* cursor) noexcept nogil

cdef int refuse(const Cursor* cursor, const uint8_t* at, str field, str why) except -1
cdef int refuse_end(const Cursor* cursor, str field) except -1
cdef int refuse_type(const Cursor* cursor, str field, str wanted) except -1
# Says why the number at `at` was not read, or that it is not within low..high.
cdef int refuse_number(Cursor* cursor, const uint8_t* at, Fault fault, const Integer* number, str field,
                       int64_t low, int64_t high) except -1

cdef int64_t read_number(Cursor* cursor, str field, int64_t low, int64_t high) except? -1
# The number of items. An item takes at least a byte; a count beyond the bytes that follow is refused.
cdef Py_ssize_t read_array(Cursor* cursor, str field) except -1
cdef Py_ssize_t read_map(Cursor* cursor, str field) except -1
# The size of a string of at most `longest` bytes, which begins at `text`. Its UTF-8 is not checked.
cdef Py_ssize_t read_text(Cursor* cursor, str field, Py_ssize_t longest, const uint8_t** text) except -1
cdef str decode_text(const Cursor* cursor, str field, const uint8_t* text, Py_ssize_t size)
cdef str read_str(Cursor* cursor, str field, Py_ssize_t longest)
# A key of a map; refused if it is among those seen.
cdef str read_key(Cursor* cursor, str field, dict seen)
# Any value that JSON has as well, inside of `depth` containers.
cdef object read_any(Cursor* cursor, str field, int depth)


cdef inline Fault read_integer(Cursor* cursor, Integer* out) noexcept nogil:
    """Any integer in any encoding; moves past it unless there is a fault."""
    cdef const uint8_t* at = cursor.at
    cdef Py_ssize_t left = cursor.end - at
    cdef uint8_t head
    cdef int size, i
    cdef uint64_t word
    check(cursor.start <= at)
    check(left >= 0)
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


cdef inline bint in_range(const Integer* number, int64_t low, int64_t high) noexcept nogil:
    # Without `negative` a number beyond 2^63 - 1 would count as a negative one.
    return low <= <int64_t> number.bits <= high and (number.negative or <int64_t> number.bits >= 0)


cdef inline Py_ssize_t usual_number(const uint8_t* at, uint64_t* out) noexcept nogil:
    """Reads an unsigned number and returns its bytes; 0 if it is of another type. Nine bytes must be there."""
    cdef Unsigned encoding = UNSIGNED[at[0]]
    cdef uint64_t follows = -<uint64_t> (at[0] >> 7)        # all ones if the value follows the first byte; no branch
    out[0] = load_be64(at + 1) >> encoding.shift & follows | at[0] & ~follows
    return encoding.size
