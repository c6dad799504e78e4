"""zlib through Python's module: the C library's headers may be missing where the core is compiled.

A message is compressed once, in one call, for all peers; a delivery calls nothing here.
"""

import zlib

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory

from mdstream._core.codec.variant cimport DEFLATE, DEFLATE_NARROW, LEAST_WINDOW_BITS, MOST_WINDOW_BITS

from mdstream.codes import CloseCode

cdef enum:
    TAIL = 4                    # bytes of an empty stored block, 00 00 FF FF, that are not sent (RFC 7692 section 7.2.1)
    MOST = 131072               # bytes of a message: a larger one would hold up the loop for longer than some 2 ms, and is sent as it is

# The same for Python: bytes of the largest message that is compressed.
MOST_COMPRESSED = MOST

cdef int CORRUPT = CloseCode.NOT_UTF8       # 1007: data that does not fit the type of the message (RFC 6455 section 7.4.1)
cdef int TOO_BIG = CloseCode.TOO_BIG

# Follows a message: the tail and an empty final block. A stream that does not end with it was cut off.
cdef bytes ENDING = b"\x00\x00\xff\xff\x03\x00"
# What the stream may leave unread: if the peer's last block was a final one, with and without the zero byte of section 7.2.3.5.
cdef tuple LEFT_OVER = (b"", b"\x00" + ENDING, ENDING)
cdef dict WINDOW_BITS = {DEFLATE: MOST_WINDOW_BITS, DEFLATE_NARROW: LEAST_WINDOW_BITS}


cdef class Deflater:
    """Compresses messages of ``least`` bytes to 128 KiB with zlib, without context takeover (RFC 7692); for a Hub.

    ``level``: 1 (fast) to 9 (small). ValueError if either is out of range. Each Compression has a compressor of its own.
    """

    def __init__(self, level: int = 1, least: int = 256) -> None:
        if not 1 <= level <= 9:
            raise ValueError(f"the compression level is {level}; it must be 1 (fast) to 9 (small)")
        if least < 1:
            raise ValueError(f"the least size to compress is {least} bytes; it must be at least 1")
        self.level = level
        self.least = least
        self.compressors = [None, None, None]

    cdef bytes c_compress(self, int compression, const char* payload, Py_ssize_t payload_size, Py_ssize_t* size):
        cdef bytes compressed
        if not self.least <= payload_size <= MOST:
            return None
        compressor = self.compressors[compression]
        if compressor is None:
            compressor = zlib.compressobj(self.level, zlib.DEFLATED, -WINDOW_BITS[compression])
            self.compressors[compression] = compressor
        compressed = compressor.compress(PyMemoryView_FromMemory(<char*>payload, payload_size, PyBUF_READ))
        # A full flush forgets what came before: as good as a new compressor for each message, which costs far more.
        compressed += compressor.flush(zlib.Z_FULL_FLUSH)
        size[0] = len(compressed) - TAIL
        self.messages += 1
        self.bytes_in += payload_size
        self.bytes_out += size[0]
        return compressed


cdef bytes decompress(const char* payload, Py_ssize_t size, Py_ssize_t max_size, int* violation):
    cdef bytes message
    stream = zlib.decompressobj(-MOST_WINDOW_BITS)
    try:
        message = stream.decompress(PyBytes_FromStringAndSize(payload, size) + ENDING, max_size + 1)
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


def inflate(payload: bytes, max_size: int) -> bytes | int:
    """The message of a compressed WebSocket payload, or the close code of the violation: 1007 corrupt, 1009 larger than
    ``max_size`` bytes. Takes no more memory than that, whatever the payload claims to become."""
    cdef int violation = 0
    message = decompress(payload, len(payload), max_size, &violation)
    return violation if message is None else message
