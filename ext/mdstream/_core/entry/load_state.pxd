"""What the load of this gateway means for those who come."""

cdef class LoadState:
    cdef public object refuses
    cdef public int level
