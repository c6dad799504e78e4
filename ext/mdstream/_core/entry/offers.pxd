"""What was decided of offers of subprotocols and extensions, by offer."""

cdef class Decided:
    cdef readonly object answer
    cdef public Py_ssize_t uses

cdef class OfferTable:
    cdef readonly object _entries

    # As `find`.
    cdef object c_find(self, tuple offer)
