"""What the clients of a load test say: the contract's commands in both formats, as masked WebSocket frames."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._core.base.buffer cimport Buffer

cdef enum Format:
    FORMAT_JSON = 1             # each is the opcode of its frames as well
    FORMAT_MSGPACK = 2

cdef struct Name:               # of an instrument, as it stands in a message: in JSON escaped, without the quotes
    const char* text
    Py_ssize_t size

cdef struct Wish:               # one instrument of a subscribe command
    Name name
    uint64_t epoch              # to resume from; 0: from the beginning
    uint64_t seq

cdef struct Topic:              # what is wanted of each
    Name channel
    bint is_book                # depth, group and interval are said only then
    int64_t depth
    int64_t group
    int64_t interval_ms

# Each appends one whole frame to `out`.
cdef int put_subscribe(Buffer* out, Format format, int64_t id, const Topic* topic, const Wish* wishes, Py_ssize_t count) except -1 nogil
cdef int put_recover(Buffer* out, Format format, int64_t sub, uint64_t first) except -1 nogil
cdef int put_client_frame(Buffer* out, uint8_t opcode, const char* payload, Py_ssize_t size) except -1 nogil
