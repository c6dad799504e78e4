from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels

cdef class _Scratch:
    """The memory of one call from Python, freed with it."""
    cdef Buffer out
    cdef Levels bids
    cdef Levels asks

    cdef int take_sides(self, object bids, object asks) except -1
    cdef bytes to_bytes(self)
