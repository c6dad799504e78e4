"""Numbers as text (``put_…``) and as MessagePack (``pack_…``), written to reserved memory.

The caller reserves. A writer returns the end of what it wrote and may touch up to ``SLACK`` bytes after it. Three
multiplications make eight digits at a time (SWAR); no digit costs a division or a look-up.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._core.base.check cimport check

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define MDS_LITTLE(word) (word)
    #define MDS_BIG(word) __builtin_bswap64(word)
    #else
    #define MDS_LITTLE(word) __builtin_bswap64(word)
    #define MDS_BIG(word) (word)
    #endif

    /* The length folds to a constant: a literal becomes a few moves. */
    static inline __attribute__((always_inline)) char *mds_put_text(char *out, const char *text)
    {
        size_t size = __builtin_strlen(text);
        memcpy(out, text, size);
        return out + size;
    }
    static inline void mds_store_little(char *out, uint64_t word) { word = MDS_LITTLE(word); memcpy(out, &word, 8); }
    static inline uint64_t mds_load_little(const char *at) { uint64_t word; memcpy(&word, at, 8); return MDS_LITTLE(word); }
    static inline void mds_store_big(char *out, uint64_t word) { word = MDS_BIG(word); memcpy(out, &word, 8); }

    static const uint64_t MDS_POW10[20] = {
        1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull, 1000000000ull,
        10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull, 100000000000000ull,
        1000000000000000ull, 10000000000000000ull, 100000000000000000ull, 1000000000000000000ull,
        10000000000000000000ull};

    /* The shortest MessagePack encoding of an unsigned number, by its count of significant bits. `mask` selects the
       bits that go into the first byte; `shift` moves the rest to the top of a big-endian word. */
    struct mds_encoding { uint8_t first, mask, size, shift; };
    static const struct mds_encoding MDS_ENCODINGS[65] = {
        [0 ... 7] = {0x00, 0x7f, 1, 0}, [8] = {0xcc, 0, 2, 56}, [9 ... 16] = {0xcd, 0, 3, 48},
        [17 ... 32] = {0xce, 0, 5, 32}, [33 ... 64] = {0xcf, 0, 9, 0}};
    """
    cdef struct mds_encoding:
        uint8_t first
        uint8_t mask
        uint8_t size
        uint8_t shift
    const uint64_t ASCII_ZEROS "0x3030303030303030ull"      # "00000000"
    const uint64_t LAST_DIGIT "0x0100000000000000ull"       # ends the search for leading zeros
    const uint64_t[20] MDS_POW10
    const mds_encoding[65] MDS_ENCODINGS
    char* put_text "mds_put_text"(char* out, const char* text) noexcept nogil
    void store_little "mds_store_little"(char* out, uint64_t word) noexcept nogil
    uint64_t load_little "mds_load_little"(const char* at) noexcept nogil
    void store_big "mds_store_big"(char* out, uint64_t word) noexcept nogil
    int count_low_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil
    int count_high_zeros "__builtin_clzll"(uint64_t word) noexcept nogil

cdef enum:
    SLACK = 16              # bytes that a writer may touch after its end
    UINT_MAX_TEXT = 20      # digits of 2^64 - 1
    INT_MAX_MSGPACK = 9     # bytes of the longest MessagePack integer


cdef inline uint64_t digits8(uint64_t value) noexcept nogil:
    """The eight digits of value < 10^8, one per byte, the first in the lowest byte.

    Each step splits all lanes at once: with q = x // d, lane x becomes lanes q and x - d * q, which is
    (x << width) - ((d << width) - 1) * q in one word. The reciprocals give exact quotients in these ranges.
    """
    cdef uint64_t upper = value * 109951163 >> 40
    cdef uint64_t halves = (value << 32) - upper * ((<uint64_t>10000 << 32) - 1)
    cdef uint64_t uppers = halves * 10486 >> 20 & 0x0000007F0000007FULL
    cdef uint64_t pairs = (halves << 16) - uppers * ((100 << 16) - 1)
    cdef uint64_t tens = pairs * 103 >> 10 & 0x000F000F000F000FULL
    check(value < 100000000)
    return (pairs << 8) - tens * ((10 << 8) - 1)


cdef inline char* put_digits8(char* out, uint64_t value) noexcept nogil:
    store_little(out, digits8(value) | ASCII_ZEROS)
    return out + 8


cdef inline char* put_short(char* out, uint64_t value) noexcept nogil:
    """value < 10^8, without leading zeros."""
    cdef uint64_t word = digits8(value)
    cdef uint64_t skip = <uint64_t>count_low_zeros(word | LAST_DIGIT) & 56      # bits
    store_little(out, (word | ASCII_ZEROS) >> skip)
    return out + 8 - (skip >> 3)


cdef inline char* put_uint(char* out, uint64_t value) noexcept nogil:
    cdef uint64_t high
    if value < 100000000:
        return put_short(out, value)
    high = value // 100000000
    if high < 100000000:
        out = put_short(out, high)
    else:
        out = put_short(out, high // 100000000)
        out = put_digits8(out, high % 100000000)
    return put_digits8(out, value - high * 100000000)


cdef inline uint64_t magnitude(int64_t value) noexcept nogil:
    return <uint64_t>value if value >= 0 else 0 - <uint64_t>value


cdef inline char* put_int(char* out, int64_t value) noexcept nogil:
    out[0] = c"-"
    return put_uint(out + (value < 0), magnitude(value))


cdef inline char* put_padded(char* out, uint64_t value, int width) noexcept nogil:
    """value < 10^width with leading zeros, exactly `width` digits."""
    check(width > 0)
    check(width >= 20 or value < MDS_POW10[width])
    if width > 8:
        out = put_padded(out, value // 100000000, width - 8)
        return put_digits8(out, value % 100000000)
    store_little(out, (digits8(value) | ASCII_ZEROS) >> (8 * (8 - width)))
    return out + width


cdef inline char* put_point_within8(char* out, uint64_t value, int decimals) noexcept nogil:
    """value × 10^-decimals for 1 ≤ decimals ≤ 7: the point is within the last eight digits."""
    cdef uint64_t high = value // 100000000
    cdef uint64_t word = digits8(value - high * 100000000)
    cdef uint64_t whole = 64 - 8 * <uint64_t>decimals       # bits before the point
    cdef uint64_t skip = 0
    if high:
        out = put_uint(out, high)
    else:
        skip = min(<uint64_t>count_low_zeros(word | LAST_DIGIT) & 56, whole - 8)
    word |= ASCII_ZEROS
    store_little(out, word >> skip)
    out += (whole - skip) >> 3
    out[0] = c"."
    store_little(out + 1, word >> whole)
    return out + 1 + decimals


cdef inline char* put_point_beyond8(char* out, uint64_t value, int decimals) noexcept nogil:
    cdef uint64_t whole = value // MDS_POW10[decimals] if decimals < 20 else 0
    out = put_uint(out, whole)
    out[0] = c"."
    return put_padded(out + 1, value - whole * MDS_POW10[decimals] if whole else value, decimals)


cdef inline char* put_point_at8(char* out, uint64_t value) noexcept nogil:
    cdef uint64_t whole = value // 100000000
    out = put_uint(out, whole)
    out[0] = c"."
    return put_digits8(out + 1, value - whole * 100000000)


cdef inline char* put_integer_scaled(char* out, uint64_t value, int zeros) noexcept nogil:
    cdef int i
    out = put_uint(out, value)
    if value:
        for i in range(zeros):
            out[i] = c"0"
        out += zeros
    return out


cdef inline char* put_decimal(char* out, int64_t value, int exp) noexcept nogil:
    """value × 10^exp with exactly -exp decimals, an integer if exp ≥ 0."""
    cdef uint64_t positive = magnitude(value)
    out[0] = c"-"
    out += value < 0
    if exp == -8:
        return put_point_at8(out, positive)
    if exp >= 0:
        return put_integer_scaled(out, positive, exp)
    if exp > -8:
        return put_point_within8(out, positive, -exp)
    return put_point_beyond8(out, positive, -exp)


cdef inline Py_ssize_t decimal_max_text(int exp) noexcept nogil:
    """Bytes of the longest text of a number of this exponent, with its sign and point."""
    return UINT_MAX_TEXT + 3 + (exp if exp > 0 else -exp)


cdef inline char* pack_uint(char* out, uint64_t value) noexcept nogil:
    cdef mds_encoding encoding = MDS_ENCODINGS[64 - count_high_zeros(value | 1)]
    out[0] = <char>(encoding.first | (value & encoding.mask))
    store_big(out + 1, value << encoding.shift)
    return out + encoding.size


cdef inline char* pack_negative(char* out, int64_t value) noexcept nogil:
    cdef int size = 8
    if value >= -32:
        out[0] = <char>value
        return out + 1
    if value >= -2147483648:
        size = 1 if value >= -128 else 2 if value >= -32768 else 4
    out[0] = <char>(0xd0 + count_low_zeros(size))
    store_big(out + 1, <uint64_t>value << (64 - 8 * size))
    return out + 1 + size


cdef inline char* pack_int(char* out, int64_t value) noexcept nogil:
    return pack_uint(out, <uint64_t>value) if value >= 0 else pack_negative(out, value)


cdef inline char* pack_array(char* out, Py_ssize_t count) noexcept nogil:
    """The header of an array of `count` values (below 2^32)."""
    check(0 <= count)
    check(count < <Py_ssize_t>1 << 32)
    if count < 16:
        out[0] = <char>(0x90 | count)
        return out + 1
    if count < 65536:
        out[0] = <char>0xdc
        store_big(out + 1, <uint64_t>count << 48)
        return out + 3
    out[0] = <char>0xdd
    store_big(out + 1, <uint64_t>count << 32)
    return out + 5


cdef inline char* pack_text_header(char* out, Py_ssize_t size) noexcept nogil:
    """The header of a string of `size` bytes (below 256)."""
    check(0 <= size)
    check(size < 256)
    if size < 32:
        out[0] = <char>(0xa0 | size)
        return out + 1
    out[0] = <char>0xd9
    out[1] = <char>size
    return out + 2


cdef inline char* pack_levels(char* out, const int64_t* values, Py_ssize_t count) noexcept nogil:
    """`count` levels as one flat array, [ticks, lots, …]."""
    cdef const int64_t* end = values + 2 * count
    out = pack_array(out, 2 * count)
    while values < end:
        out = pack_int(out, values[0])
        out = pack_int(out, values[1])
        values += 2
    return out
