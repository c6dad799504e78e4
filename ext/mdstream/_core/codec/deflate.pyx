"""zlib through Python's module: headers of the C library cannot be counted on where the core is compiled.

A packed message costs one call here, for all who are handed it; nothing is called per delivery.
"""

import zlib

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory

from mdstream._core.codec.variant cimport DEFLATE, DEFLATE_NARROW, LEAST_WINDOW_BITS, MOST_WINDOW_BITS

cdef enum:
    TAIL = 4                    # bytes of an empty stored block, 00 00 FF FF, that the wire leaves out (section 7.2.1)
    CORRUPT = 1007
    TOO_BIG = 1009

# Behind a message: the tail, and an empty final block. A stream that does not end with it was cut off.
cdef bytes ENDING = b"\x00\x00\xff\xff\x03\x00"
# What may be left of that if the peer's last block was itself final, with and without the zero byte of section 7.2.3.5.
cdef tuple LEFT_OVER = (b"", b"\x00" + ENDING, ENDING)
cdef dict WINDOW_BITS = {DEFLATE: MOST_WINDOW_BITS, DEFLATE_NARROW: LEAST_WINDOW_BITS}


cdef class Deflater:
    def __init__(self, level: int = 1, least: int = 256) -> None:
        if not 1 <= level <= 9:
            raise ValueError(f"the compression level is {level}; it must be 1 (fast) to 9 (small)")
        if least < 1:
            raise ValueError(f"the least size to compress is {least} bytes; it must be at least 1")
        self.level = level
        self.least = least
        self.compressors = [None, None, None]

    cdef bytes c_pack(self, int packing, const char* payload, Py_ssize_t payload_size, Py_ssize_t* size):
        cdef bytes packed
        if payload_size < self.least:
            return None
        compressor = self.compressors[packing]
        if compressor is None:
            compressor = self.compressors[packing] = zlib.compressobj(self.level, zlib.DEFLATED, -WINDOW_BITS[packing])
        packed = compressor.compress(PyMemoryView_FromMemory(<char*>payload, payload_size, PyBUF_READ))
        # A full flush forgets what came before: as good as a new compressor for each message, which costs far more.
        packed += compressor.flush(zlib.Z_FULL_FLUSH)
        size[0] = len(packed) - TAIL
        self.messages += 1
        self.bytes_in += payload_size
        self.bytes_out += size[0]
        return packed


cdef bytes unpack(const char* packed, Py_ssize_t size, Py_ssize_t max_size, int* violation):
    cdef bytes message
    stream = zlib.decompressobj(-MOST_WINDOW_BITS)
    try:
        message = stream.decompress(PyBytes_FromStringAndSize(packed, size) + ENDING, max_size + 1)
    except zlib.error:
        violation[0] = CORRUPT
        return None
    if len(message) > max_size:
        violation[0] = TOO_BIG
        return None
    if not stream.eof or stream.unused_data not in LEFT_OVER:
        violation[0] = CORRUPT
        return None
    return message


def inflate(packed: bytes, max_size: int) -> bytes | int:
    """`unpack` for Python, for tests: the message, or the close code of the violation."""
    cdef int violation = 0
    message = unpack(packed, len(packed), max_size, &violation)
    return violation if message is None else message
