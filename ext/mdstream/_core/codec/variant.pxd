"""A variant of messages: a format, and how it is packed. Whoever takes a topic in the same variant is handed the same bytes."""

from libc.stdint cimport uint8_t

cdef enum Packing:              # permessage-deflate (RFC 7692), by the greatest window that the peer can unpack
    PLAIN = 0
    DEFLATE = 1                 # 32 KiB, the usual
    DEFLATE_NARROW = 2          # 512 bytes, the least: serves any smaller limit

cdef enum:
    VARIANTS = 6                   # format + 2 * packing
    LEAST_WINDOW_BITS = 9
    MOST_WINDOW_BITS = 15

cdef inline int format_of(int variant) noexcept nogil:
    return variant & 1


cdef inline int packing_of(int variant) noexcept nogil:
    return variant >> 1


cdef inline uint8_t variant_of(int format, int packing) noexcept nogil:
    return <uint8_t>(format | packing << 1)
