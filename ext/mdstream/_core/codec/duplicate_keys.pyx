"""Counts what is in a message. The keys of all maps, as sent and as decoded: the decoded one has fewer if a map gave a key twice.
And the values, and how deep they are nested, before anything is made of them."""

from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.math cimport isfinite
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    DEEPEST = 32
    MOST_OPEN = 512             # lists and maps at once
    MAP_WEIGHT = 10             # values that a map counts as: making one takes so much longer

cdef object MOST_INTEGER = 1 << 64


cdef Py_ssize_t count(object value, int depth) except -2:
    """See `count_keys`."""
    cdef Py_ssize_t keys = 0
    cdef Py_ssize_t more
    cdef object kind = type(value)
    if kind is str or kind is int or kind is bool or kind is bytes or value is None:
        return 0
    if kind is float:
        return 0 if isfinite(<double>value) else -1
    if depth == DEEPEST:
        return -1
    if kind is dict:
        keys = len(<dict>value)
        for key, item in (<dict>value).items():
            more = count(item, depth + 1)
            if more < 0 or type(key) is not str:
                return -1
            keys += more
        return keys
    if kind is list:
        for item in <list>value:
            more = count(item, depth + 1)
            if more < 0:
                return -1
            keys += more
        return keys
    return -1


def count_keys(value) -> int:
    """The keys of all maps in a decoded value; -1 if it is nested deeper than 32 or holds anything but string-keyed maps, lists,
    strings, bytes, integers, finite numbers, booleans and None."""
    return count(value, 0)


cdef bint holds_plain(object value, int left) except -1:
    """See `is_plain`."""
    cdef object kind = type(value)
    cdef int overflow = 0
    if kind is str or kind is bool or value is None:
        return True
    if kind is float:
        return isfinite(<double>value)
    if kind is int:
        PyLong_AsLongLongAndOverflow(value, &overflow)
        return overflow == 0 or (overflow > 0 and value < MOST_INTEGER)
    if left == 0:
        return False
    if kind is list:
        for item in <list>value:
            if not holds_plain(item, left - 1):
                return False
        return True
    if kind is dict:
        for key, item in (<dict>value).items():
            if type(key) is not str or not holds_plain(item, left - 1):
                return False
        return True
    return False


def is_plain(value, int deepest) -> bool:
    """Whether it is what both formats hold: strings, integers of 64 bits, finite numbers, booleans, None, lists and string-keyed maps, so
    many of these within each other at most, 512 or fewer. False also for subclasses of these."""
    return holds_plain(value, min(deepest, MOST_OPEN))


def count_json_keys(payload: bytes) -> int:
    """The keys of all objects in valid JSON."""
    cdef const uint8_t* at = payload
    cdef const uint8_t* end = at + len(payload)
    cdef Py_ssize_t keys = 0
    cdef bint quoted = False
    while at < end:
        if at[0] == c'"':
            quoted = not quoted
        elif quoted and at[0] == c'\\':
            at += 1
        elif not quoted and at[0] == c':':
            keys += 1
        at += 1
    return keys


def count_json_values(payload: bytes) -> int:
    """About how many values JSON holds, also if it is not valid; a map counts as ten."""
    cdef const uint8_t* at = payload
    cdef const uint8_t* end = at + len(payload)
    cdef Py_ssize_t values = 1
    cdef bint quoted = False
    while at < end:
        if at[0] == c'"':
            quoted = not quoted
        elif quoted:
            at += at[0] == c'\\'
        elif at[0] == c',' or at[0] == c':' or at[0] == c'[':
            values += 1
        elif at[0] == c'{':
            values += MAP_WEIGHT
        at += 1
    return values


cdef inline uint64_t number(const uint8_t* at, int size) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value = value << 8 | at[i]
    return value


cdef int length_bytes(uint8_t first) noexcept nogil:
    """How many bytes of a length follow a first byte of 0xc0 to 0xdf; 0 if none."""
    if first == 0xc4 or first == 0xc7 or first == 0xd9:
        return 1
    if first == 0xc5 or first == 0xc8 or first == 0xda or first == 0xdc or first == 0xde:
        return 2
    if first == 0xc6 or first == 0xc9 or first == 0xdb or first == 0xdd or first == 0xdf:
        return 4
    return 0


cdef uint64_t value_bytes(uint8_t first) noexcept nogil:
    """How many bytes of a value follow a first byte of 0xc0 to 0xdf that has no length."""
    if 0xcc <= first <= 0xcf:
        return 1 << (first - 0xcc)
    if 0xd0 <= first <= 0xd3:
        return 1 << (first - 0xd0)
    if first == 0xca:
        return 4
    if first == 0xcb:
        return 8
    if 0xd4 <= first <= 0xd8:
        return 1 + (1 << (first - 0xd4))
    return 0


cdef enum Kind:
    SCALAR = 0
    ARRAY = 1
    MAP = 2


cdef const uint8_t* next_header(const uint8_t* at, const uint8_t* end, Kind* kind, uint64_t* count) noexcept nogil:
    """Past a value without what it contains: a scalar, or the header of an array or a map of `count` items or pairs. NULL if it is
    cut short. The items of a container follow its header, so a message can be walked through without regard to nesting."""
    cdef uint8_t first = at[0]
    cdef uint64_t skip
    cdef int size
    at += 1
    kind[0] = SCALAR
    count[0] = 0
    if first < 0x80 or first >= 0xe0:
        return at
    if first < 0xa0:
        kind[0] = MAP if first < 0x90 else ARRAY
        count[0] = first & 15
        return at
    if first < 0xc0:
        skip = first & 31
    else:
        size = length_bytes(first)
        if size > end - at:
            return NULL
        skip = number(at, size) if size else value_bytes(first)
        at += size
        if first >= 0xdc:
            kind[0] = MAP if first >= 0xde else ARRAY
            count[0] = skip
            return at
        if 0xc7 <= first <= 0xc9:
            skip += 1
    return at + skip if skip <= <uint64_t>(end - at) else NULL


def count_msgpack_keys(payload: bytes) -> int:
    """The keys of all maps in valid MessagePack; -1 if it is cut short."""
    cdef const uint8_t* at = payload
    cdef const uint8_t* end = at + len(payload)
    cdef uint64_t keys = 0
    cdef uint64_t count = 0
    cdef Kind kind = SCALAR
    while at < end:
        at = next_header(at, end, &kind, &count)
        if at == NULL:
            return -1
        if kind == MAP:
            keys += count
    return <Py_ssize_t>min(keys, <uint64_t>1 << 40)


def count_msgpack_values(payload: bytes, start: int, stop: int) -> int:
    """How many values the bytes ``start`` to ``stop`` of MessagePack hold, as far as they are valid; a map counts as ten."""
    cdef Py_ssize_t size = len(payload)
    cdef const uint8_t* at = payload
    cdef const uint8_t* end
    cdef uint64_t count = 0
    cdef Kind kind = SCALAR
    cdef Py_ssize_t values = 0
    if not 0 <= start <= stop <= size:
        raise IndexError(f"{start} to {stop} are not within {size} bytes")
    end = at + <Py_ssize_t>stop
    at += <Py_ssize_t>start
    while at != NULL and at < end:
        at = next_header(at, end, &kind, &count)
        values += MAP_WEIGHT if kind == MAP else 1
    return values


def is_deep_json(payload: bytes) -> bool:
    """Whether more than 512 lists and maps are open at once, also if it is not valid JSON."""
    cdef const uint8_t* at = payload
    cdef const uint8_t* end = at + len(payload)
    cdef Py_ssize_t depth = 0
    cdef bint quoted = False
    while at < end and depth <= MOST_OPEN:
        if at[0] == c'"':
            quoted = not quoted
        elif quoted:
            at += at[0] == c'\\'
        elif at[0] == c'[' or at[0] == c'{':
            depth += 1
        elif at[0] == c']' or at[0] == c'}':
            depth -= 1
        at += 1
    return depth > MOST_OPEN


def is_deep_msgpack(payload: bytes, start: int, stop: int) -> bool:
    """Whether more than 512 arrays and maps are open at once in a value of MessagePack, which the bytes ``start`` to ``stop`` are."""
    cdef const uint8_t* at = payload
    cdef const uint8_t* end
    cdef uint64_t[MOST_OPEN] missing    # items of each array or map that is open
    cdef uint64_t count = 0
    cdef int depth = 0
    cdef Kind kind = SCALAR
    if not 0 <= start <= stop <= len(payload):
        raise IndexError(f"{start} to {stop} are not within {len(payload)} bytes")
    end = at + <Py_ssize_t>stop
    at += <Py_ssize_t>start
    while at != NULL and at < end:
        at = next_header(at, end, &kind, &count)
        while depth and missing[depth - 1] == 0:
            depth -= 1
        if depth:
            missing[depth - 1] -= 1
        if kind != SCALAR and count:
            if depth == MOST_OPEN:
                return True
            missing[depth] = 2 * count if kind == MAP else count
            depth += 1
    return False
