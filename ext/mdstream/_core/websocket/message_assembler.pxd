"""Joins WebSocket frames to whole messages; checks the order of frames (RFC 6455 section 5.4) and the UTF-8 of text. No I/O."""

from libc.stdint cimport uint8_t

from mdstream._core.websocket.frame_parser cimport Piece

cdef struct Utf8:               # the state between two bytes of a text (RFC 3629 section 4)
    uint8_t missing             # continuation bytes still to come
    uint8_t low                 # bounds of the next one
    uint8_t high

# Whether `data` continues valid UTF-8.
cdef bint utf8_feed(Utf8* state, const char* data, Py_ssize_t size) noexcept nogil

cdef enum Fed:
    FED_MORE = 0
    FED_WHOLE = 1

cdef struct MessageAssembler:   # zeroed: no message is arriving
    char* data
    Py_ssize_t size
    Py_ssize_t capacity
    Utf8 utf8
    uint8_t opcode              # of the first frame; 0: none is arriving
    bint compressed             # its text can only be checked after it is decompressed

# Takes a piece of a data frame (text, binary, continuation). Returns a Fed or the negated close code of a violation. FED_WHOLE: the
# message is `whole`, until the next call.
cdef int assembler_feed(MessageAssembler* assembler, const Piece* piece, Py_ssize_t max_size, Piece* whole) except? -1
# Whether a whole text is UTF-8.
cdef bint is_utf8(const char* data, Py_ssize_t size) noexcept nogil
cdef void assembler_free(MessageAssembler* assembler) noexcept nogil

# The code in a close frame's payload (NO_CODE if there is none), or the negated close code of a violation.
cdef int close_code(const char* payload, Py_ssize_t size) noexcept nogil
