from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from mdstream._core.base.check cimport check
from mdstream._core.websocket.frame cimport OP_CLOSE, OP_CONTINUATION, OP_TEXT

from mdstream.codes import CloseCode

cdef enum:
    KEEP = 4096             # bytes; a buffer that grew larger is freed before the next message

cdef int PROTOCOL_ERROR = CloseCode.PROTOCOL_ERROR
cdef int NO_CODE = CloseCode.NO_CODE
cdef int NOT_UTF8 = CloseCode.NOT_UTF8
cdef int TOO_BIG = CloseCode.TOO_BIG


cdef bint utf8_feed(Utf8* state, const char* data, Py_ssize_t size) noexcept nogil:
    cdef const unsigned char* at = <const unsigned char*>data
    cdef const unsigned char* end = at + size
    cdef unsigned long long eight
    check(size >= 0)
    check(state.missing <= 3)
    while at < end:
        if state.missing:
            if at[0] < state.low or at[0] > state.high:
                return False
            state.missing -= 1
            state.low = 0x80
            state.high = 0xBF
            at += 1
            continue
        while end - at >= 8:
            memcpy(&eight, at, 8)
            if eight & 0x8080808080808080ULL:
                break
            at += 8
        if at < end:
            if at[0] >= 0x80 and not utf8_lead(state, at[0]):
                return False
            at += 1
    return True


cdef bint is_utf8(const char* data, Py_ssize_t size) noexcept nogil:
    cdef Utf8 state
    state.missing = 0
    return utf8_feed(&state, data, size) and not state.missing


cdef bint utf8_lead(Utf8* state, unsigned char lead) noexcept nogil:
    """The first byte of a sequence: how many follow, and the bounds of the second. They exclude overlong sequences, surrogates
    and what is beyond U+10FFFF."""
    state.low = 0x80
    state.high = 0xBF
    if 0xC2 <= lead <= 0xDF:
        state.missing = 1
    elif 0xE0 <= lead <= 0xEF:
        state.missing = 2
        if lead == 0xE0:
            state.low = 0xA0
        elif lead == 0xED:
            state.high = 0x9F
    elif 0xF0 <= lead <= 0xF4:
        state.missing = 3
        if lead == 0xF0:
            state.low = 0x90
        elif lead == 0xF4:
            state.high = 0x8F
    else:
        return False
    return True


cdef int assembler_feed(MessageAssembler* assembler, const Piece* piece, Py_ssize_t max_size, Piece* whole) except? -1:
    cdef bint continues = piece.opcode == OP_CONTINUATION
    check(piece.opcode < OP_CLOSE)
    check(assembler.opcode != 0 or assembler.size == 0)
    check(assembler.size <= assembler.capacity)
    if continues != (assembler.opcode != 0):
        return -PROTOCOL_ERROR
    if assembler.size + piece.size > max_size:
        return -TOO_BIG
    if not continues:
        assembler.opcode = piece.opcode
        assembler.compressed = piece.compressed
        assembler.size = 0
        assembler.utf8.missing = 0
    if assembler.opcode == OP_TEXT and not assembler.compressed:
        if not utf8_feed(&assembler.utf8, piece.data, piece.size) or piece.fin and assembler.utf8.missing:
            return -NOT_UTF8
    whole[0] = piece[0]
    if continues or not piece.fin:
        assembler_append(assembler, piece.data, piece.size)
        whole[0] = Piece(assembler.opcode, piece.fin, assembler.compressed, assembler.data, assembler.size)
    if not piece.fin:
        return FED_MORE
    assembler.opcode = 0
    assembler.size = 0
    return FED_WHOLE


cdef int assembler_append(MessageAssembler* assembler, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t needed = assembler.size + size
    cdef char* moved
    if assembler.size == 0 and assembler.capacity > KEEP:
        assembler_free(assembler)
    if needed > assembler.capacity:
        needed = needed + needed // 2 + 64
        moved = <char*>realloc(assembler.data, needed)
        if moved == NULL:
            raise MemoryError(f"no memory for a message of {needed} bytes")
        assembler.data = moved
        assembler.capacity = needed
    if size:                # an empty frame may have no data at all
        memcpy(assembler.data + assembler.size, data, size)
    assembler.size += size
    return 0


cdef void assembler_free(MessageAssembler* assembler) noexcept nogil:
    free(assembler.data)
    assembler.data = NULL
    assembler.size = 0
    assembler.capacity = 0


cdef int close_code(const char* payload, Py_ssize_t size) noexcept nogil:
    """RFC 6455 section 7.4 and the codes registered since: a frame may hold 1000-1003, 1007-1014 and 3000-4999."""
    cdef const unsigned char* at = <const unsigned char*>payload
    cdef int code
    if size == 0:
        return NO_CODE
    if size == 1:
        return -PROTOCOL_ERROR
    code = at[0] << 8 | at[1]
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        return -PROTOCOL_ERROR
    if not is_utf8(payload + 2, size - 2):
        return -NOT_UTF8
    return code
