"""What one address, or one user, has now and may have."""

from mdstream._core.base.budget cimport Allowance, Bucket
from mdstream._core.entry.budget_numbers cimport BUDGETS

cdef enum:                      # what is counted, by number
    CONNECTIONS = 0
    HANDSHAKES = 1
    SUBSCRIPTIONS = 2
    COUNTS = 3

cdef class Share:
    cdef readonly object key
    cdef public Py_ssize_t connections
    cdef public Py_ssize_t handshakes
    cdef public Py_ssize_t subscriptions
    cdef public double told_s
    cdef public Py_ssize_t row
    cdef Bucket[BUDGETS] buckets

    cdef bint c_is_unused(self) noexcept

cdef class ShareTable:
    cdef readonly object _common
    cdef readonly dict _shares
    cdef readonly dict _unused_since        # in the order of time
    cdef Py_ssize_t _most
    cdef Py_ssize_t[COUNTS] most_of
    cdef Allowance[BUDGETS] allowances

    cdef Share c_use(self, object key)
    # None if it has nothing, here or in another process.
    cdef Share c_find(self, object key, object clock)
    cdef int c_fill(self, Share share) except -1
    # The session of a share has so many more of each, or fewer.
    cdef int c_count(self, Share share, Py_ssize_t connections, Py_ssize_t subscriptions, object clock) except -1
    cdef bint c_is_full(self, Share share, int what, Py_ssize_t more) except -1
    cdef int c_changed(self, Share share) except -1
    cdef int c_release(self, Share share, object clock) except -1
    # Whether a budget of the share would give as much. False also where other processes have to be asked.
    cdef bint c_has(self, Share share, int budget, double amount, double now_s) noexcept
    cdef bint c_take(self, Share share, int budget, double amount, double now_s) noexcept
