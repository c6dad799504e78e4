"""Headers of a server's WebSocket frames, which are not masked (RFC 6455 section 5.2)."""

from libc.stdint cimport uint8_t, uint64_t

from mdstream._core.base.check cimport check

cdef enum Opcode:
    OP_CONTINUATION = 0
    OP_TEXT = 1
    OP_BINARY = 2
    OP_CLOSE = 8
    OP_PING = 9
    OP_PONG = 10

cdef enum:
    HEADER_MAX = 10
    RSV1 = 0x40             # in the first byte: the message is compressed (RFC 7692 section 6)

cdef inline Py_ssize_t header_size(Py_ssize_t payload) noexcept nogil:
    return 2 if payload < 126 else 4 if payload < 65536 else HEADER_MAX


cdef inline Py_ssize_t put_header(char* out, uint8_t opcode, Py_ssize_t payload) noexcept nogil:
    """Writes the header of an unfragmented frame and returns its size. ``opcode`` may have RSV1 set."""
    cdef int shift
    cdef int i
    check(payload >= 0)
    check(opcode & ~(RSV1 | 0x0F) == 0)
    out[0] = <char>(0x80 | opcode)
    if payload < 126:
        out[1] = <char>payload
        return 2
    if payload < 65536:
        out[1] = 126
        out[2] = <char>(payload >> 8)
        out[3] = <char>payload
        return 4
    out[1] = 127
    for i in range(8):
        shift = 56 - 8 * i
        out[2 + i] = <char>(<uint64_t>payload >> shift)
    return HEADER_MAX


cdef inline const char* frame_payload(const char* frame, Py_ssize_t* size) noexcept nogil:
    """The payload of a frame that `put_header` began, and its size."""
    cdef const uint8_t* at = <const uint8_t*>frame
    cdef uint64_t length = at[1]
    cdef int i
    if length < 126:
        size[0] = <Py_ssize_t>length
        return frame + 2
    if length == 126:
        size[0] = (<Py_ssize_t>at[2] << 8) | at[3]
        return frame + 4
    length = 0
    for i in range(8):
        length = (length << 8) | at[2 + i]
    size[0] = <Py_ssize_t>length
    return frame + HEADER_MAX
