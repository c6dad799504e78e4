"""permessage-deflate (RFC 7692) without context takeover: what is packed once can be handed to any number of peers."""

from libc.stdint cimport uint64_t

cdef class Deflater:
    """Packs messages of `least` bytes or more; one compressor for each packing, made when it is first needed."""
    cdef readonly int level
    cdef readonly Py_ssize_t least
    cdef list compressors       # by packing
    # figures
    cdef uint64_t messages
    cdef uint64_t bytes_in
    cdef uint64_t bytes_out

    # The packed payload is packed[:size[0]]; None, and `size` untouched, for one that is to be sent as it is.
    cdef bytes c_pack(self, int packing, const char* payload, Py_ssize_t payload_size, Py_ssize_t* size)

# The message that was packed: never more than `max_size` bytes of memory are taken for it. None, and the close code of the
# violation, if it is larger or corrupt.
cdef bytes unpack(const char* packed, Py_ssize_t size, Py_ssize_t max_size, int* violation)
