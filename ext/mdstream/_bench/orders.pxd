"""The commands of a load test's clients in both formats, as masked WebSocket frames."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from mdstream._core.base.buffer cimport Buffer

cdef enum Format:
    FORMAT_JSON = 1             # each value is also the opcode of its frames
    FORMAT_MSGPACK = 2

cdef struct Name:               # of an instrument, as in a message: escaped in JSON, without quotes
    const char* text
    Py_ssize_t size

cdef struct WantedInstrument:   # of a subscribe command
    Name name
    uint64_t epoch              # to resume from; 0: do not resume
    uint64_t seq

cdef struct Topic:              # the same for all instruments of a command
    Name channel
    bint is_book                # only then the command has depth, group and interval
    int64_t depth
    int64_t group
    int64_t interval_ms

# Each appends one complete frame to `out`.
cdef int put_subscribe(Buffer* out, Format format, int64_t id, const Topic* topic, const WantedInstrument* wanted, Py_ssize_t count) except -1 nogil
cdef int put_recover(Buffer* out, Format format, int64_t sub, uint64_t first) except -1 nogil
cdef int put_client_frame(Buffer* out, uint8_t opcode, const char* payload, Py_ssize_t size) except -1 nogil
