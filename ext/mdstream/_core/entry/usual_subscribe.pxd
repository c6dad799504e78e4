"""A `subscribe` as most clients send it."""

from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.fanout.topic cimport Topic

cdef class UsualSubscribe:
    cdef readonly object command
    cdef object id
    cdef Py_ssize_t size        # of the message, in bytes
    cdef str name
    cdef tuple view
    cdef bint of_book
    cdef Py_ssize_t depth
    cdef Py_ssize_t echo_bytes
    cdef object allowed_by      # the entitlements that allowed it when it came last; they do not change
    # What it last led to, and how that is answered. The topic is a weak reference.
    cdef object topic
    cdef object ref
    cdef bytes answer

    # The topic that it last led to, if that is still the instrument's.
    cdef Topic c_topic(self, Instrument instrument)
    # The answer to who joins that topic while the instrument has this `ref`; None if it is not known.
    cdef bytes c_answer(self, Topic topic, object ref)
    cdef int c_remember(self, Topic topic, object ref, bytes answer) except -1
