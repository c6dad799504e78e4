"""The base of sinks, as topics and the hub know them."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc

from mdstream._core.codec.variant cimport DEFLATE, DEFLATE_NARROW, LEAST_WINDOW_BITS, MOST_WINDOW_BITS, PLAIN, variant_of


cdef class Sink:
    """Where frames for one client go. ``net.session`` has the one that writes to a WebSocket.

    ``format`` is 0 for JSON, 1 for MessagePack. While it is ``blocked``, the peer takes no more: its topics queue nothing for it.
    """

    def __init__(self, format: int, window_bits: int = 0) -> None:
        if format not in (0, 1):
            raise ValueError(f"format is {format!r}; it must be 0 (JSON) or 1 (MessagePack)")
        if window_bits and not LEAST_WINDOW_BITS <= window_bits <= MOST_WINDOW_BITS:
            raise ValueError(f"window_bits is {window_bits}; it must be 0 (uncompressed) or 9 to 15")
        compression = PLAIN if not window_bits else DEFLATE if window_bits == MOST_WINDOW_BITS else DEFLATE_NARROW
        self.fd = -1
        self.format = format
        self.variant = variant_of(format, compression)

    def __dealloc__(self) -> None:
        free(self.places)

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
        cdef uint32_t capacity
        cdef Place* places
        if self.n_places == self.places_capacity:
            capacity = next_capacity(self.places_capacity)
            places = <Place*>realloc(self.places, capacity * sizeof(Place))
            if places == NULL:
                raise MemoryError(f"no memory for {capacity} subscriptions")
            self.places = places
            self.places_capacity = capacity
        self.places[self.n_places].topic = topic
        self.places[self.n_places].index = index
        self.n_places += 1
        return 0

    cdef void c_remove_place(self, Py_ssize_t place) noexcept:
        cdef uint32_t capacity
        cdef Place* places
        self.n_places -= 1
        self.places[place] = self.places[self.n_places]
        capacity = fit_capacity(self.places_capacity, self.n_places)
        if capacity == 0:
            free(self.places)
            self.places = NULL
            self.places_capacity = 0
        elif capacity < self.places_capacity:
            places = <Place*>realloc(self.places, capacity * sizeof(Place))
            if places != NULL:
                self.places = places
                self.places_capacity = capacity

    cdef Py_ssize_t c_find(self, PyObject* topic) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.n_places):
            if self.places[i].topic == topic:
                return i
        return -1
