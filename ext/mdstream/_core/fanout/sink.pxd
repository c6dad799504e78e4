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

# Arrays of subscriptions, in topics and in sinks, have room for at most half as many again as are in use.
# Room for one more item of `size` bytes.
cdef int reserve_item(void** items, uint32_t* capacity, uint32_t count, size_t size) except -1
# Gives memory back after an item has left.
cdef void release_items(void** items, uint32_t* capacity, uint32_t count, size_t size) noexcept

cdef class Sink:
    # What a delivery touches stands together, up to `pending`: 64 bytes with the head of the object.
    cdef int fd                         # the socket, or negative: only c_write can write
    cdef readonly uint8_t format
    cdef uint8_t variant                # format and compression of its frames
    cdef readonly bint blocked          # the peer takes no more now
    cdef readonly bint closed
    # linked to it by the outbox
    cdef Delivery* first
    cdef Delivery* last
    cdef Py_ssize_t pending             # bytes in those
    cdef object hub                     # once attached; called through Python, on rare events only
    cdef bint pings                     # gets WebSocket pings with its heartbeats, and must answer them
    # its subscriptions
    cdef Place* places
    cdef uint32_t n_places
    cdef uint32_t places_capacity
    cdef readonly uint32_t grouped      # subscriptions to grouped views
    # of the hub
    cdef uint64_t behind_since_us       # since when a subscription has been behind; 0: none is
    cdef uint32_t turn                  # the place at which catching up goes on
    cdef uint32_t lagging               # subscriptions that it has still to look at, since the peer reads again
    cdef uint64_t heard_us              # when the peer last sent anything; 0: not known yet
    cdef uint32_t slot                  # of the heartbeat wheel
    cdef uint32_t slot_index

    # What the constructor does. ValueError for a format or a window that is none.
    cdef int c_begin(self, int format, int window_bits) except -1
    # Writes the deliveries, `size` bytes, at once. True if the peer takes no more now.
    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept
    # A write to `fd` sent only the first `sent` bytes, maybe none; negative: the socket is broken. True as above.
    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept
    # The hub ends it: a close frame with `code`, nothing after it.
    cdef int c_end(self, int code, str reason) except -1
    cdef int c_add_place(self, PyObject* topic, uint32_t index) except -1
    # The last place moves into the one removed; the caller tells its member.
    cdef void c_remove_place(self, Py_ssize_t place) noexcept
    # Index in `places`, or -1.
    cdef Py_ssize_t c_find(self, PyObject* topic) noexcept nogil
