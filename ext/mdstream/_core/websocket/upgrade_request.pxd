"""The usual upgrade request, read in one pass."""

cdef enum:                      # the headers that are read
    HOST = 0
    UPGRADE = 1
    CONNECTION = 2
    KEY = 3
    VERSION = 4
    PROTOCOL = 5
    EXTENSIONS = 6
    AUTHORIZATION = 7
    ORIGIN = 8
    FORWARDED_FOR = 9
    FORWARDED = 10
    FORBIDDEN = 11              # announces a body
    OTHER = 12

cdef struct Text:
    const char* data
    Py_ssize_t size

cdef struct Request:
    Text target
    Text[OTHER] values          # data NULL: the header is missing

# Whether it is a usual upgrade request, with each header that counts at most once; `at` is its first byte, its empty line is left out.
cdef bint read_request(const char* at, Py_ssize_t size, Request* request) noexcept nogil
# The value for `Sec-WebSocket-Accept`.
cdef bytes accept_of(Text key)
# None if the header is missing.
cdef bytes to_bytes(Text text)
