"""The assembler of messages, for Python."""

from mdstream._core.websocket.frame_parser cimport Piece
from mdstream._core.websocket.message_assembler cimport (
    FED_MORE, FED_WHOLE, MessageAssembler, assembler_feed, assembler_free, close_code
)


cdef class Assembler:
    """Whole messages from the data frames of one WebSocket: ``feed`` returns (opcode, message) once it is whole, None before, or the
    close code of a violation, after which nothing may be fed."""
    cdef MessageAssembler assembler
    cdef Py_ssize_t max_size

    def __init__(self, max_size: int = 65536) -> None:
        self.max_size = max_size

    def __dealloc__(self) -> None:
        assembler_free(&self.assembler)

    def feed(self, opcode: int, payload: bytes, *, fin: bool = True, compressed: bool = False) -> tuple | int | None:
        cdef Piece piece = Piece(opcode, fin, compressed, payload, len(payload))
        cdef Piece whole
        cdef int fed = assembler_feed(&self.assembler, &piece, self.max_size, &whole)
        if fed == FED_WHOLE:
            return whole.opcode, whole.data[:whole.size]
        return None if fed == FED_MORE else -fed


def parse_close(payload: bytes) -> int:
    """The code in a close frame, 1005 if there is none; negative: the code to answer a violation with."""
    return close_code(payload, len(payload))
