"""The sink of a session, which writes to its WebSocket."""

from libc.stdint cimport uint64_t

from mdstream._core.fanout.sink cimport Delivery, Sink

cdef class SessionSink(Sink):
    cdef object session         # None once it has ended
    cdef object transport       # None once it has ended
    cdef Py_ssize_t control_backlog
    cdef Py_ssize_t backlog     # bytes that were added to what the transport held already, since it last held nothing

    cdef Py_ssize_t held        # bytes that its transport held when they were last looked at
    cdef uint64_t held_since_us     # since when it has been as many; monotonic

    cdef object tracer          # called with what is written, as bytes; None: nobody traces it

    # Call it once, as a constructor: it writes to this transport of the session.
    cdef int c_open(self, object session, object transport, int format, int window_bits, Py_ssize_t control_backlog) except -1
    # The bytes that its transport holds. Notes since when nothing was sent of them.
    cdef Py_ssize_t c_look_at_held(self, uint64_t now_us) except -1
    cdef bint c_write_transport(self, const Delivery* first, Py_ssize_t skip, Py_ssize_t size) except? False
    cdef bint c_write_traced(self, const Delivery* first, Py_ssize_t size) noexcept
    cdef int c_on_broken(self) except -1
