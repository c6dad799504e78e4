"""permessage-deflate (RFC 7692) without context takeover, so that any number of peers can share a compressed message."""

from libc.stdint cimport uint64_t

cdef class Deflater:
    cdef readonly int level
    cdef readonly Py_ssize_t least
    cdef list compressors       # by Compression
    # figures
    cdef uint64_t messages
    cdef uint64_t bytes_in
    cdef uint64_t bytes_out

    # The compressed payload is the first size[0] bytes. None, with `size` untouched, for a payload to be sent as it is.
    cdef bytes c_compress(self, int compression, const char* payload, Py_ssize_t payload_size, Py_ssize_t* size)

# The message of a compressed payload; takes at most `max_size` bytes of memory for it. None, and the close code of the
# violation, if the message is larger or corrupt.
cdef bytes decompress(const char* payload, Py_ssize_t size, Py_ssize_t max_size, int* violation)
