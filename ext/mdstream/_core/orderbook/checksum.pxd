"""The contract's checksum: CRC-32 (IEEE, as in zlib) of the text of a view's best ten levels."""

from libc.stdint cimport uint32_t

from mdstream._core.orderbook.levels cimport Levels

cdef uint32_t levels_crc(const Levels* bids, const Levels* asks) noexcept nogil
cdef uint32_t crc32(const char* text, Py_ssize_t size) noexcept nogil
