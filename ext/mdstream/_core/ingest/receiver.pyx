from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc

cimport cython

cdef enum:
    FIRST_SLOTS = 64

cdef class Receiver:
    """A handler that takes messages without a Python object for each. Subclass it in Cython."""

    cdef int c_receive(self, const char* subject, Py_ssize_t subject_size,
                       const char* payload, Py_ssize_t payload_size) except -1:
        raise NotImplementedError

    cdef void c_prefetch(self, const char* payload, Py_ssize_t size) noexcept nogil:
        pass

    def __call__(self, bytes subject not None, bytes reply, bytes payload not None, bytes headers):
        """One message, as any other handler is given it."""
        self.c_receive(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject),
                       PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


@cython.no_gc_clear     # the table borrows what the dict owns
cdef class Handlers:
    """Handlers by subscription number, found without a Python object. A handler is called with subject, reply, payload and
    header block."""

    def __cinit__(self, handlers=()):
        self.owned = {}
        self.mask = -1
        self.c_grow()
        for sid, handler in dict(handlers).items():
            self[sid] = handler

    def __dealloc__(self):
        PyMem_Free(self.entries)

    cdef const Entry* c_find(self, int64_t sid) noexcept nogil:
        cdef const Entry* entry = &self.entries[sid & self.mask]
        while entry.sid != sid:
            if entry.sid < 0:
                return NULL
            entry = &self.entries[(entry - self.entries + 1) & self.mask]
        return entry

    cdef int c_grow(self) except -1:
        cdef int64_t slots = max(<int64_t> FIRST_SLOTS, 2 * (self.mask + 1))
        cdef int64_t i
        cdef Entry* grown = <Entry*> PyMem_Realloc(self.entries, <size_t> slots * sizeof(Entry))
        if grown == NULL:
            raise MemoryError(f"no memory for the handlers of {slots // 2} subscriptions")
        self.entries, self.mask = grown, slots - 1
        for i in range(slots):
            grown[i].sid = -1
        for sid, handler in self.owned.items():
            self.c_put(sid, handler)
        return 0

    cdef void c_put(self, int64_t sid, object handler) noexcept:
        cdef Entry* entry = &self.entries[sid & self.mask]
        while entry.sid >= 0 and entry.sid != sid:
            entry = &self.entries[(entry - self.entries + 1) & self.mask]
        entry.sid, entry.handler = sid, <PyObject*> handler
        entry.receiver_bytes = type(handler).__basicsize__ if isinstance(handler, Receiver) else 0

    cdef void c_take_out(self, int64_t sid) noexcept nogil:
        """Frees the slot of a subscription that is there, moving up those behind it that could not be found any more."""
        cdef int64_t free = self.c_find(sid) - self.entries
        cdef int64_t at = free
        while True:
            at = (at + 1) & self.mask
            if self.entries[at].sid < 0:
                break
            if ((at - self.entries[at].sid) & self.mask) >= ((at - free) & self.mask):
                self.entries[free] = self.entries[at]
                free = at
        self.entries[free].sid = -1

    def __setitem__(self, int64_t sid, handler not None):
        """Raises ValueError for a negative number."""
        if sid < 0:
            raise ValueError(f"subscription {sid}: its number cannot be negative")
        if 2 * (len(self.owned) + 1) > self.mask + 1:
            self.c_grow()
        old = self.owned.get(sid)       # let go at the end: that may run anything
        self.owned[sid] = handler
        self.c_put(sid, handler)
        del old

    def __getitem__(self, sid):
        return self.owned[sid]

    def __delitem__(self, sid):
        self.pop(sid)

    def __contains__(self, sid):
        return sid in self.owned

    def __len__(self):
        return len(self.owned)

    def keys(self):
        return self.owned.keys()

    def get(self, sid):
        return self.owned.get(sid)

    def pop(self, sid, *default):
        if sid in self.owned:
            self.c_take_out(sid)
        return self.owned.pop(sid, *default)
