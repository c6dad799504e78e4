"""Where frames for one client go, and where that client stands in each of its topics."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cpython.ref cimport PyObject

cdef struct Delivery:           # of one flush; a run of whole WebSocket frames
    const char* data
    Py_ssize_t size
    Delivery* next

cdef struct Place:
    PyObject* topic             # borrowed: a topic lives as long as it has members
    uint32_t index              # of the member there

# Arrays of subscriptions, in topics and in sinks, hold at most half as much again as is in use, whoever comes and goes.

cdef inline uint32_t next_capacity(uint32_t capacity) noexcept nogil:
    """Of a full array that is to take one more."""
    return capacity + (capacity >> 2) + 1


cdef inline uint32_t fit_capacity(uint32_t capacity, uint32_t count) noexcept nogil:
    """Of an array that someone has left: less, with some room, if it is too large by now."""
    return count + (count >> 2) if capacity > count + (count >> 1) else capacity

cdef class Sink:
    # All that a delivery touches lies side by side: 64 bytes, the object's own head with them.
    cdef int fd                         # the socket, if it may be written to directly, else negative: only c_write knows how
    cdef readonly uint8_t format
    cdef uint8_t variant                   # of what it is handed: the format, compressed or not
    cdef readonly bint blocked          # the peer takes no more now
    cdef readonly bint closed
    # what the outbox holds for it
    cdef Delivery* first
    cdef Delivery* last
    cdef Py_ssize_t pending             # bytes in those
    cdef object hub                     # once attached; called at Python level, on rare events only
    cdef bint pings                     # wants WebSocket pings with its heartbeats, and must answer them
    # its subscriptions
    cdef Place* places
    cdef uint32_t n_places
    cdef uint32_t places_capacity
    # of the hub
    cdef uint64_t behind_since_us       # since when it has not been brought up to date in all; 0: it is
    cdef uint32_t turn                  # the place at which catching up goes on
    cdef uint64_t heard_us              # when the peer last sent anything; 0: not known yet
    cdef uint32_t slot                  # of the heartbeat wheel
    cdef uint32_t slot_index

    # Writes `size` bytes, all of the deliveries, in one go. True if the peer takes no more now.
    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept
    # Of a write to `fd` the socket took only the first `sent` bytes, maybe none; negative: it is broken. True as above.
    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept
    # The hub ends it: a close frame with `code`, nothing after it.
    cdef int c_end(self, int code, str reason) except -1
    cdef int c_add_place(self, PyObject* topic, uint32_t index) except -1
    # The last place takes the place of the one removed; the caller tells its member.
    cdef void c_remove_place(self, Py_ssize_t place) noexcept
    # Index in `places`, or -1.
    cdef Py_ssize_t c_find(self, PyObject* topic) noexcept nogil
