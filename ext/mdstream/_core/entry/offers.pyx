from collections import OrderedDict

from cpython.dict cimport PyDict_GetItem
from cpython.ref cimport PyObject


cdef class Decided:
    """An answer. ``uses``: since it was added; halved each time that it could have been forgotten."""

    def __init__(self, answer) -> None:
        self.answer = answer


cdef class OfferTable:
    """The base of ``mdstream.gateway.offers.Offers``, which says what is forgotten: looked at for each connection."""

    def __init__(self) -> None:
        self._entries = OrderedDict()

    def find(self, tuple offer not None):
        """What an offer leads to, None if that is not known."""
        return self.c_find(offer)

    cdef object c_find(self, tuple offer):
        cdef PyObject* found = PyDict_GetItem(self._entries, offer)
        if found == NULL:
            return None
        (<Decided>found).uses += 1
        return (<Decided>found).answer
