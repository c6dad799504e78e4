# distutils: depends = ext/mdstream/_core/orderbook/crc32_clmul.h
"""The contract's text of a view's best ten levels, and its CRC-32 (IEEE 802.3, reflected 0xEDB88320).

Uses carry-less multiplication where the processor has it, else tables, sixteen bytes at a time ("slicing-by-16", Kounavis and
Berry 2005). zlib is not linked: its headers may be missing where this is built.
"""

from array import array

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t

from mdstream._core.base.check cimport check
from mdstream._core.base.digits cimport SLACK, UINT_MAX_TEXT, put_int
from mdstream._core.orderbook.levels cimport Levels

cdef extern from "crc32_clmul.h":
    bint crc_clmul_usable() noexcept nogil
    uint32_t crc_clmul(uint32_t crc, const uint8_t* at, size_t size) noexcept nogil

cdef enum:
    CLMUL_MIN = 64          # bytes from which carry-less multiplication works
    BEST = 10               # levels of a side that count
    TEXT_MAX = 2 * 2 * BEST * (UINT_MAX_TEXT + 2) + SLACK

cdef uint32_t[16][256] TABLES
cdef bint CLMUL = crc_clmul_usable()


cdef void make_tables() noexcept:
    cdef uint32_t word
    cdef int byte, table, _bit
    for byte in range(256):
        word = byte
        for _bit in range(8):
            word = (word >> 1) ^ (0xEDB88320 if word & 1 else 0)
        TABLES[0][byte] = word
    for table in range(1, 16):
        for byte in range(256):
            word = TABLES[table - 1][byte]
            TABLES[table][byte] = (word >> 8) ^ TABLES[0][word & 255]


make_tables()


cdef inline uint32_t table_crc(uint32_t crc, const uint8_t* at, const uint8_t* end) noexcept nogil:
    while end - at >= 16:
        crc = (TABLES[15][at[0] ^ (crc & 255)] ^ TABLES[14][at[1] ^ (crc >> 8 & 255)]
               ^ TABLES[13][at[2] ^ (crc >> 16 & 255)] ^ TABLES[12][at[3] ^ (crc >> 24)]
               ^ TABLES[11][at[4]] ^ TABLES[10][at[5]] ^ TABLES[9][at[6]] ^ TABLES[8][at[7]]
               ^ TABLES[7][at[8]] ^ TABLES[6][at[9]] ^ TABLES[5][at[10]] ^ TABLES[4][at[11]]
               ^ TABLES[3][at[12]] ^ TABLES[2][at[13]] ^ TABLES[1][at[14]] ^ TABLES[0][at[15]])
        at += 16
    while at < end:
        crc = crc >> 8 ^ TABLES[0][(crc ^ at[0]) & 255]
        at += 1
    return crc


cdef uint32_t crc32(const char* text, Py_ssize_t size) noexcept nogil:
    cdef const uint8_t* at = <const uint8_t*>text
    cdef const uint8_t* end = at + size
    cdef uint32_t crc = 0xFFFFFFFF
    cdef size_t whole
    check(size >= 0)
    if CLMUL and size >= CLMUL_MIN:
        whole = size & ~<Py_ssize_t>15
        crc = crc_clmul(crc, at, whole)
        at += whole
    return ~table_crc(crc, at, end)


cdef inline char* put_level(char* at, const int64_t* level) noexcept nogil:
    at = put_int(at, level[0])
    at[0] = c":"
    at = put_int(at + 1, level[1])
    at[0] = c":"
    return at + 1


cdef uint32_t levels_crc(const Levels* bids, const Levels* asks) noexcept nogil:
    cdef char[TEXT_MAX] text
    cdef char* at = text
    cdef Py_ssize_t i
    for i in range(BEST):
        if i < bids.count:
            at = put_level(at, bids.values + 2 * i)
        if i < asks.count:
            at = put_level(at, asks.values + 2 * i)
    check(at - text <= TEXT_MAX - SLACK)
    return crc32(text, at - text - (at > text))         # without the last colon


cdef Levels borrow(bytes numbers) noexcept:
    """Valid as long as ``numbers`` is."""
    return Levels(<int64_t*>PyBytes_AS_STRING(numbers), PyBytes_GET_SIZE(numbers) // 16, 0)


cdef bytes as_numbers(object flat):
    return (array("q", flat) if isinstance(flat, (list, tuple)) else memoryview(flat)).tobytes()


def crc_of(bids, asks):
    """The contract's checksum of a view, flat and best first: CRC-32 of the text of its best ten levels."""
    cdef bytes bid_numbers = as_numbers(bids)
    cdef bytes ask_numbers = as_numbers(asks)
    cdef Levels bid_levels = borrow(bid_numbers)
    cdef Levels ask_levels = borrow(ask_numbers)
    return levels_crc(&bid_levels, &ask_levels)


def crc32_of(data, bint tables=False):
    """``zlib.crc32`` by our own code; ``tables``: without the processor's carry-less multiplication."""
    cdef bytes whole = bytes(data)
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(whole)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(whole)
    return ~table_crc(0xFFFFFFFF, at, at + size) if tables else crc32(<const char*>at, size)
