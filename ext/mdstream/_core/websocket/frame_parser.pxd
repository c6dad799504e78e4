"""Parses a client's WebSocket frames (RFC 6455 section 5.2) from bytes as they arrive. No I/O, no buffer for payloads.

A data frame becomes one piece or several, as its bytes arrive. A piece after the first is a continuation, and only the last
piece of a final frame is final: a frame in pieces looks like a fragmented message. A control frame is always one piece.
"""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    CONTROL_MAX = 125

cdef struct Piece:
    uint8_t opcode
    bint fin
    bint compressed         # the first piece of a compressed message (RSV1)
    char* data              # unmasked in place
    Py_ssize_t size

cdef struct FrameParser:         # zeroed: at the start of a frame. Each connection has one, so it is small
    uint64_t left           # bytes of payload still to come
    char* control           # CONTROL_MAX bytes, once a control frame came in parts, until the next frame begins
    uint8_t[14] header
    uint8_t have            # bytes of the header so far
    uint8_t opcode          # of the next piece
    uint8_t[4] mask
    uint8_t phase           # of the mask: the next byte's index modulo 4
    uint8_t control_size
    uint8_t in_payload      # the header is whole
    uint8_t fin
    uint8_t compressed      # the next piece is the first of a compressed message
    uint8_t compression     # permessage-deflate was agreed on: RSV1 is allowed (RFC 7692 section 6)

# Reads the next piece of at[0]..end and moves at[0] past it. Returns 1, 0 if more bytes are needed, or the negated close code of
# a violation; after a violation nothing may be parsed. A data frame may have `max_size` bytes. A piece is there until the next call.
cdef int frame_parser_next(FrameParser* parser, char** at, char* end, Py_ssize_t max_size, Piece* piece) noexcept nogil
cdef void frame_parser_free(FrameParser* parser) noexcept nogil
