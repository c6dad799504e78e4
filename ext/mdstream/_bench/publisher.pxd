from libc.stdint cimport int64_t, uint64_t

from mdstream._bench.books cimport Books as MadeBooks
from mdstream._bench.histogram cimport Histogram
from mdstream._core.base.buffer cimport Buffer

cdef struct Schedule:
    double step_ns              # between two bursts; 0: no pause
    int64_t total               # updates; -1: as many as the time allows
    int64_t burst
    int64_t changes
    int64_t per_message
    double trades               # share of the updates that are trades
    int64_t begin_ns            # monotonic
    int64_t begin_us            # the same time since the Unix epoch
    int64_t end_ns

cdef struct Published:
    uint64_t updates
    uint64_t messages
    uint64_t bytes
    uint64_t snaps
    uint64_t very_late          # updates
    int64_t late_max_us

cdef class Publisher:
    cdef MadeBooks books
    cdef readonly Histogram lateness
    cdef Schedule schedule
    cdef Published published
    cdef double* weights        # of zipf, cumulated; NULL: the symbols take turns
    cdef Py_ssize_t turn
    cdef uint64_t random
    cdef Buffer out
    cdef Buffer payload
    cdef list _names
    cdef char** names           # subjects
    cdef char[4096] line        # the current line from the server
    cdef Py_ssize_t line_size
    cdef int fd
    cdef int wake_fd
    cdef bint confirmed
    cdef bint refused           # `line` has the reason
    cdef str where

    # within
    cdef dict report(self, double rate, double cpu_s)
    cdef int loop(self) except -1 nogil
    cdef int publish_burst(self, int64_t due_ns, int64_t already) except -1 nogil
    cdef int publish_message(self, Py_ssize_t symbol, uint64_t ts_us, int64_t updates) except -1 nogil
    cdef int publish_trades(self, Py_ssize_t symbol, uint64_t ts_us, int64_t trades) except -1 nogil
    cdef Py_ssize_t pick(self) noexcept nogil
    cdef int append(self, Py_ssize_t symbol, const char* stream) except -1 nogil
    cdef int send(self) except -1 nogil
    cdef bint wait(self, int64_t until_ns, short events) except -1 nogil
    cdef int read_server(self) except -1 nogil
    cdef int take_byte(self, char byte) except -1 nogil
    cdef int fail(self) except -1 nogil
    cdef int set_weights(self, double zipf) except -1
