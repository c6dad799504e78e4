"""What the answer to a new subscription costs."""

from mdstream._core.fanout.instrument cimport Instrument

# Levels that are read, and bytes that are sent, not weighed.
cdef struct Beginning:
    Py_ssize_t levels
    Py_ssize_t size

cdef Beginning cost_of_beginning(Instrument instrument, bint of_book, Py_ssize_t depth, int format, Py_ssize_t echo) noexcept
cdef Py_ssize_t weigh(Py_ssize_t size, bint compressed) noexcept
