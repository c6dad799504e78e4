"""From WebSocket frames to whole messages: what RFC 6455 asks of their order, and of the bytes of text. No I/O."""

from libc.stdint cimport uint8_t

cdef struct Utf8:               # between two bytes of a text (RFC 3629 section 4)
    uint8_t missing             # continuation bytes still to come
    uint8_t low                 # bounds of the next one
    uint8_t high

# True if `data` can go on what came before.
cdef bint utf8_feed(Utf8* state, const char* data, Py_ssize_t size) noexcept nogil

cdef enum Fed:                  # negative: the close code of a violation
    FED_MORE = 0
    FED_WHOLE = 1

cdef struct MessageAssembler:           # of the message that is arriving; zeroed: none
    char* data
    Py_ssize_t size
    Py_ssize_t capacity
    Utf8 utf8
    uint8_t opcode              # of the first frame; 0: none is arriving
    bint packed                 # compressed: what the bytes are shows once they are unpacked

# One data frame, or a piece of one (text, binary, continuation); `packed` counts with the first. FED_WHOLE: the message is
# whole[:whole_size], until the next call.
cdef int assembler_feed(MessageAssembler* assembler, uint8_t opcode, bint fin, bint packed, const char* data,
                       Py_ssize_t size, Py_ssize_t max_size, const char** whole, Py_ssize_t* whole_size,
                       uint8_t* whole_opcode) except? -1
# Whether a whole text is UTF-8.
cdef bint is_utf8(const char* data, Py_ssize_t size) noexcept nogil
cdef void assembler_free(MessageAssembler* assembler) noexcept nogil

# The code of a close frame's payload (1005 if it names none), or that of the violation, negative.
cdef int close_code(const char* payload, Py_ssize_t size) noexcept nogil
