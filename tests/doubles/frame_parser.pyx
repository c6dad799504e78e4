"""The parser of frames, for Python."""

from mdstream._core.websocket.frame cimport RSV1
from mdstream._core.websocket.frame_parser cimport FrameParser as Parser, Piece, frame_parser_free, frame_parser_next


cdef class FrameParser:
    """Feed bytes, get pieces (opcode, fin, unmasked payload); 0x40 is added to the opcode of a compressed message. A violation is
    its close code, and the last piece."""
    cdef Parser parser
    cdef Py_ssize_t max_size

    def __init__(self, max_size: int = 65536, *, compression: bool = False) -> None:
        self.max_size = max_size
        self.parser.compression = compression

    def __dealloc__(self) -> None:
        frame_parser_free(&self.parser)

    def feed(self, data: bytes) -> list:
        cdef bytearray copied = bytearray(data)
        cdef char* at = copied
        cdef char* end = at + len(copied)
        cdef Piece piece
        cdef list pieces = []
        cdef int result = frame_parser_next(&self.parser, &at, end, self.max_size, &piece)
        while result > 0:
            pieces.append((piece.opcode | (RSV1 if piece.compressed else 0), bool(piece.fin), piece.data[:piece.size]))
            result = frame_parser_next(&self.parser, &at, end, self.max_size, &piece)
        if result < 0:
            pieces.append(-result)
        return pieces
