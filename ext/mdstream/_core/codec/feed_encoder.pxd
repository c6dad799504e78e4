from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels

cdef class _Scratch:
    """What one call from Python needs, freed with it whatever happens."""
    cdef Buffer out
    cdef Levels bids
    cdef Levels asks

    cdef int take_sides(self, object bids, object asks) except -1
    cdef bytes taken(self)
