"""A variant of a message: its format and its compression. All who take a topic in the same variant get the same bytes."""

from libc.stdint cimport uint8_t

cdef enum Compression:          # permessage-deflate (RFC 7692), by the largest window that the peer can decompress
    PLAIN = 0
    DEFLATE = 1                 # 32 KiB, the usual
    DEFLATE_NARROW = 2          # 512 bytes, the smallest: good for every limit below 32 KiB

cdef enum:
    VARIANTS = 6                # format + 2 * compression
    LEAST_WINDOW_BITS = 9
    MOST_WINDOW_BITS = 15

cdef inline int format_of(int variant) noexcept nogil:
    return variant & 1


cdef inline int compression_of(int variant) noexcept nogil:
    return variant >> 1


cdef inline uint8_t variant_of(int format, int compression) noexcept nogil:
    return <uint8_t>(format | compression << 1)
