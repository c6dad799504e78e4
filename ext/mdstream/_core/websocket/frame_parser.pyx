from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from mdstream._core.base.check cimport check
from mdstream._core.websocket.frame cimport OP_BINARY, OP_CLOSE, OP_CONTINUATION, OP_PONG, OP_TEXT, RSV1

from mdstream.codes import CloseCode

cdef enum:
    FIN = 0x80
    RESERVED = 0x70
    MASKED = 0x80

cdef int PROTOCOL_ERROR = CloseCode.PROTOCOL_ERROR
cdef int TOO_BIG = CloseCode.TOO_BIG
cdef int INTERNAL_ERROR = CloseCode.INTERNAL_ERROR


cdef int frame_parser_next(FrameParser* parser, char** at, char* end, Py_ssize_t max_size, Piece* piece) noexcept nogil:
    cdef int result
    check(at[0] <= end)
    check(parser.in_payload or parser.left == 0)
    if not parser.in_payload:
        if parser.control != NULL:
            frame_parser_free(parser)
        result = read_header(parser, at, end, max_size)
        if result <= 0:
            return result
    if parser.opcode >= OP_CLOSE:
        return control_piece(parser, at, end, piece)
    if at[0] == end and parser.left:
        return 0
    take_payload(parser, at, end, piece)
    piece.opcode = parser.opcode
    piece.fin = parser.fin and parser.left == 0
    piece.compressed = parser.compressed
    parser.opcode = OP_CONTINUATION
    parser.compressed = False
    if parser.left == 0:
        end_frame(parser)
    return 1


cdef int read_header(FrameParser* parser, char** at, char* end, Py_ssize_t max_size) noexcept nogil:
    """Returns 1 once the header is whole and allowed, 0 if more bytes are needed, or the negated close code."""
    cdef int wanted = 2
    cdef int violation
    check(parser.have < sizeof(parser.header))
    while True:
        while parser.have < wanted:
            if at[0] == end:
                return 0
            parser.header[parser.have] = <uint8_t>at[0][0]
            parser.have += 1
            at[0] += 1
        if parser.have == 2:
            violation = check_start(parser)
            if violation:
                return violation
        if wanted == header_bytes(parser):
            break
        wanted = header_bytes(parser)
    return take_header(parser, wanted, max_size)


cdef int check_start(FrameParser* parser) noexcept nogil:
    """The first two bytes: 0, or the negated close code. A client masks every frame (section 5.1)."""
    cdef uint8_t opcode = parser.header[0] & 0x0F
    cdef uint8_t length = parser.header[1] & 0x7F
    cdef uint8_t reserved = parser.header[0] & RESERVED
    if reserved == RSV1 and parser.compression and (opcode == OP_TEXT or opcode == OP_BINARY):
        reserved = 0
    if reserved or not parser.header[1] & MASKED:
        return -PROTOCOL_ERROR
    if OP_BINARY < opcode < OP_CLOSE or opcode > OP_PONG:
        return -PROTOCOL_ERROR
    if opcode >= OP_CLOSE and (length > CONTROL_MAX or not parser.header[0] & FIN):
        return -PROTOCOL_ERROR
    return 0


cdef int header_bytes(const FrameParser* parser) noexcept nogil:
    cdef uint8_t length = parser.header[1] & 0x7F
    return 6 if length < 126 else 8 if length == 126 else 14


cdef int take_header(FrameParser* parser, int size, Py_ssize_t max_size) noexcept nogil:
    cdef uint64_t length = parser.header[1] & 0x7F
    cdef int i
    check(parser.have == size)
    if size > 6:
        length = 0
        for i in range(2, size - 4):
            length = length << 8 | parser.header[i]
        if length < 126 or size == 14 and (length < 65536 or length >> 63):
            return -PROTOCOL_ERROR          # not the shortest form, or negative
    parser.opcode = parser.header[0] & 0x0F
    if parser.opcode < OP_CLOSE and length > <uint64_t>max_size:
        return -TOO_BIG
    parser.fin = parser.header[0] & FIN != 0
    parser.compressed = parser.header[0] & RSV1 != 0
    parser.left = length
    parser.phase = 0
    parser.control_size = 0
    memcpy(parser.mask, parser.header + size - 4, 4)
    parser.in_payload = True
    return 1


cdef void take_payload(FrameParser* parser, char** at, char* end, Piece* piece) noexcept nogil:
    """Unmasks what has arrived of the payload."""
    cdef Py_ssize_t size = end - at[0]
    if <uint64_t>size > parser.left:
        size = <Py_ssize_t>parser.left
    piece.data = at[0]
    piece.size = size
    unmask(parser, at[0], size)
    at[0] += size
    parser.left -= size


cdef int control_piece(FrameParser* parser, char** at, char* end, Piece* piece) noexcept nogil:
    """Collects a control frame until it is whole."""
    take_payload(parser, at, end, piece)
    check(parser.control_size + piece.size <= CONTROL_MAX)
    if parser.left or parser.control_size:
        if parser.control == NULL:
            parser.control = <char*>malloc(CONTROL_MAX)
        if parser.control == NULL:
            return -INTERNAL_ERROR
        memcpy(parser.control + parser.control_size, piece.data, piece.size)
        parser.control_size += piece.size
        piece.data = parser.control
        piece.size = parser.control_size
    if parser.left:
        return 0
    piece.opcode = parser.opcode
    piece.fin = True
    piece.compressed = False
    end_frame(parser)
    return 1


cdef void frame_parser_free(FrameParser* parser) noexcept nogil:
    free(parser.control)
    parser.control = NULL


cdef void end_frame(FrameParser* parser) noexcept nogil:
    parser.in_payload = False
    parser.have = 0


cdef void unmask(FrameParser* parser, char* data, Py_ssize_t size) noexcept nogil:
    cdef uint8_t[8] mask
    cdef uint64_t eight, word
    cdef Py_ssize_t i
    check(size >= 0)
    check(parser.phase < 4)
    for i in range(8):
        mask[i] = parser.mask[(parser.phase + i) & 3]
    memcpy(&word, mask, 8)
    i = 0
    while size - i >= 8:
        memcpy(&eight, data + i, 8)
        eight ^= word
        memcpy(data + i, &eight, 8)
        i += 8
    while i < size:
        data[i] = <char>(<uint8_t>data[i] ^ mask[i & 7])
        i += 1
    parser.phase = (parser.phase + size) & 3
