"""A client's WebSocket frames (RFC 6455 section 5.2) from the bytes as they come, in pieces. No I/O, and no buffer for payloads.

A data frame comes as one piece or several, as its bytes arrive; a piece after the first is a continuation, and only the last of
a final frame is final. So a frame in pieces reads like a fragmented message. A control frame is always one piece.
"""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    CONTROL_MAX = 125

cdef struct Piece:
    uint8_t opcode
    bint fin
    bint packed             # the first of a compressed message (RSV1)
    char* data              # unmasked in place
    Py_ssize_t size

cdef struct FrameParser:         # zeroed: at the start of a frame
    uint64_t left           # bytes of payload still to come
    uint8_t[14] header
    uint8_t have            # bytes of it so far
    bint in_payload
    uint8_t opcode          # of the next piece
    bint fin
    bint packed
    bint unpacks            # RSV1 is allowed: permessage-deflate was agreed on (RFC 7692 section 6)
    uint8_t phase           # of the mask
    uint8_t[4] mask
    uint8_t control_size
    char[CONTROL_MAX] control

# The next piece of at[0]..end, moving at[0] behind it: 1, or 0 if more bytes are needed; negative: the close code of a
# violation, after which nothing may be parsed. Data frames may have `max_size` bytes.
cdef int frame_parser_next(FrameParser* parser, char** at, char* end, Py_ssize_t max_size, Piece* piece) noexcept nogil
