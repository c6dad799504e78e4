"""The sink of a session, which writes to its WebSocket."""

from mdstream._core.fanout.sink cimport Delivery, Sink

cdef class SessionSink(Sink):
    cdef object session         # None once it has ended
    cdef object transport       # None once it has ended
    cdef Py_ssize_t control_backlog
    cdef Py_ssize_t backlog     # bytes that were added to what the transport held already, since it last held nothing

    cdef bint c_write_transport(self, const Delivery* first, Py_ssize_t skip, Py_ssize_t size) except? False
    cdef int c_on_broken(self) except -1
