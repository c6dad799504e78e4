"""A form of messages: a format, and how it is packed. Whoever takes a topic in the same form is handed the same bytes."""

from libc.stdint cimport uint8_t

cdef enum Packing:              # permessage-deflate (RFC 7692), by the greatest window that the peer can unpack
    PLAIN = 0
    DEFLATE = 1                 # 32 KiB, the usual
    DEFLATE_NARROW = 2          # 512 bytes, the least: serves any smaller limit

cdef enum:
    FORMS = 6                   # format + 2 * packing
    LEAST_WINDOW_BITS = 9
    MOST_WINDOW_BITS = 15

cdef inline int format_of(int form) noexcept nogil:
    return form & 1


cdef inline int packing_of(int form) noexcept nogil:
    return form >> 1


cdef inline uint8_t form_with(int format, int packing) noexcept nogil:
    return <uint8_t>(format | packing << 1)
