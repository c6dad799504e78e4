"""The base of sinks, as topics and the hub know them."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc

from mdstream._core.base.check cimport check
from mdstream._core.base.prefetch cimport CACHE_LINE
from mdstream._core.codec.variant cimport (
    DEFLATE, DEFLATE_NARROW, LEAST_WINDOW_BITS, MOST_WINDOW_BITS, PLAIN, compression_of, variant_of,
)


cdef int reserve_item(void** items, uint32_t* capacity, uint32_t count, size_t size) except -1:
    cdef uint32_t larger = capacity[0] + (capacity[0] >> 2) + 1
    cdef void* moved
    if count < capacity[0]:
        return 0
    moved = realloc(items[0], larger * size)
    if moved == NULL:
        raise MemoryError(f"no memory for {larger} subscriptions")
    items[0] = moved
    capacity[0] = larger
    return 0


cdef void release_items(void** items, uint32_t* capacity, uint32_t count, size_t size) noexcept:
    cdef uint32_t smaller = count + (count >> 2)
    cdef void* moved = NULL
    if capacity[0] <= count + (count >> 1):
        return
    if smaller == 0:
        free(items[0])
    else:
        moved = realloc(items[0], smaller * size)
        if moved == NULL:
            return
    items[0] = moved
    capacity[0] = smaller


cdef class Sink:
    """Where frames for one client go. ``net.session`` has the one that writes to a WebSocket.

    ``format`` is 0 for JSON, 1 for MessagePack. While it is ``blocked``, the peer takes no more: its topics queue nothing for it.
    """

    def __init__(self, format: int, window_bits: int = 0) -> None:
        self.c_begin(format, window_bits)

    cdef int c_begin(self, int format, int window_bits) except -1:
        if format not in (0, 1):
            raise ValueError(f"format is {format!r}; it must be 0 (JSON) or 1 (MessagePack)")
        if window_bits and not LEAST_WINDOW_BITS <= window_bits <= MOST_WINDOW_BITS:
            raise ValueError(f"window_bits is {window_bits}; it must be 0 (uncompressed) or 9 to 15")
        cdef int compression = PLAIN if not window_bits else DEFLATE if window_bits == MOST_WINDOW_BITS else DEFLATE_NARROW
        check(<char*>(&self.pending + 1) - <char*><PyObject*>self <= CACHE_LINE)
        self.fd = -1
        self.format = format
        self.variant = variant_of(format, compression)
        return 0

    def __dealloc__(self) -> None:
        free(self.places)

    @property
    def compresses(self) -> bool:
        """Whether its messages are compressed, those of a size that is worth it."""
        return compression_of(self.variant) != PLAIN

    @property
    def subscriptions(self) -> int:
        """How many topics it is subscribed to."""
        return self.n_places

    @property
    def subscription_bytes(self) -> int:
        """Memory that those take here; ``Topic.subscription_bytes`` is the rest."""
        return self.places_capacity * sizeof(Place)

    def topics(self) -> list:
        return [<object>self.places[i].topic for i in range(self.n_places)]

    def close(self) -> None:
        """Ends every subscription. Nothing is sent after it."""
        if self.closed:
            return
        self.closed = True
        hub, self.hub = self.hub, None
        if hub is not None:
            hub.detach(self)

    cdef bint c_write(self, const Delivery* first, Py_ssize_t size) noexcept:
        return False

    cdef bint c_unsent(self, const Delivery* first, Py_ssize_t size, Py_ssize_t sent) noexcept:
        return False

    cdef int c_end(self, int code, str reason) except -1:
        self.close()
        return 0

    cdef int c_add_place(self, PyObject* topic, uint32_t index) except -1:
        reserve_item(<void**>&self.places, &self.places_capacity, self.n_places, sizeof(Place))
        self.places[self.n_places].topic = topic
        self.places[self.n_places].index = index
        self.n_places += 1
        return 0

    cdef void c_remove_place(self, Py_ssize_t place) noexcept:
        self.n_places -= 1
        self.places[place] = self.places[self.n_places]
        release_items(<void**>&self.places, &self.places_capacity, self.n_places, sizeof(Place))

    cdef Py_ssize_t c_find(self, PyObject* topic) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n_places):
            if self.places[i].topic == topic:
                return i
        return -1
