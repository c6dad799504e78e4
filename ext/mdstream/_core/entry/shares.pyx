cimport cython

from mdstream._core.base.budget cimport Allowance, bucket_fill, bucket_left, bucket_take
from mdstream._core.base.check cimport check


@cython.no_gc              # nothing that it refers to refers to it: so the collector need not look at each
cdef class Share:
    """What one address or one user has now. ``row``: where the workers of this gateway count it together; negative: nowhere."""

    def __init__(self, key) -> None:
        self.key = key
        self.told_s = float("-inf")
        self.row = -1

    @property
    def is_unused(self) -> bool:
        return self.c_is_unused()

    cdef bint c_is_unused(self) noexcept:
        return self.connections == 0 and self.handshakes == 0 and self.subscriptions == 0


cdef class ShareTable:
    """The base of ``mdstream.gateway.limits.Shares``: what is asked and counted for each connection and each command."""

    def __init__(self, common, Py_ssize_t most) -> None:
        """``common``: what other processes of this gateway have counts too, None if there are none; ``most``: shares at a time."""
        self._common = common
        self._most = most
        self._shares = {}
        self._unused_since = {}

    def __len__(self) -> int:
        return len(self._shares)

    def set_bounds(self, counts, rates) -> None:
        """``counts``: of connections, handshakes, subscriptions; ``rates``: what each budget holds and how it refills, by its number.
        0 is no bound. All budgets are full again."""
        cdef int number
        for number, bound in enumerate(counts):
            check(number < COUNTS)
            self.most_of[number] = bound
        for number, (most, per_second) in rates.items():
            check(0 <= number < BUDGETS)
            self.allowances[number] = Allowance(most, per_second)
        for share in self._shares.values():
            self.c_fill(share)

    cdef int c_fill(self, Share share) except -1:
        cdef int number
        for number in range(BUDGETS):
            bucket_fill(&share.buckets[number], &self.allowances[number], 0.0)
        if self._common is not None and share.row >= 0:
            self._common.fill(share.row)
        return 0

    def use(self, key) -> Share:
        """The share of this address or user, to be counted in at once."""
        return self.c_use(key)

    cdef Share c_use(self, object key):
        cdef Share share = self._shares.get(key)
        if self._unused_since:
            self._unused_since.pop(key, None)
        if share is None:
            if len(self._shares) >= self._most and self._unused_since:
                self._forget(next(iter(self._unused_since)))
            share = self._shares[key] = Share(key)
            self.c_fill(share)
            if self._common is not None:
                share.row = self._common.hold(key)
        return share

    cdef Share c_find(self, object key, object clock):
        cdef Share share = self._shares.get(key)
        if share is None and self._common is not None:
            share = self.c_use(key)
            self.c_release(share, clock)
        return share

    def _forget(self, key) -> None:
        cdef Share share = self._shares.pop(key)
        del self._unused_since[key]
        if self._common is not None:
            self._common.release(share.row)

    cdef bint c_is_full(self, Share share, int what, Py_ssize_t more) except -1:
        cdef Py_ssize_t most = self.most_of[what]
        cdef Py_ssize_t have
        if most == 0:
            return False
        have = share.connections if what == CONNECTIONS else share.handshakes if what == HANDSHAKES else share.subscriptions
        if self._common is not None:
            have += self._common.elsewhere(share.row, what)
        return most < have + more

    cdef int c_changed(self, Share share) except -1:
        """Call when a count of it has changed."""
        if self._common is not None:
            self._common.put(share.row, (share.connections, share.handshakes, share.subscriptions))
        return 0

    cdef int c_count(self, Share share, Py_ssize_t connections, Py_ssize_t subscriptions, object clock) except -1:
        share.connections += connections
        share.subscriptions += subscriptions
        self.c_changed(share)
        return self.c_release(share, clock)

    def release(self, Share share not None, double now_s) -> None:
        """Call when something of it has ended."""
        if share.c_is_unused() and self._shares.get(share.key) is share:
            self._unused_since[share.key] = now_s

    cdef int c_release(self, Share share, object clock) except -1:
        if share.c_is_unused():
            self.release(share, clock())
        return 0

    cdef bint c_has(self, Share share, int budget, double amount, double now_s) noexcept:
        cdef const Allowance* allowance = &self.allowances[budget]
        if allowance.per_second == 0:
            return True
        return self._common is None and bucket_left(&share.buckets[budget], allowance, now_s) >= min(amount, allowance.most)

    cdef bint c_take(self, Share share, int budget, double amount, double now_s) noexcept:
        cdef const Allowance* allowance = &self.allowances[budget]
        return allowance.per_second == 0 or bucket_take(&share.buckets[budget], allowance, amount, now_s)

    def take_own(self, Share share not None, int budget, double amount, double now_s) -> bool:
        """Takes from what is kept here of a share's budget; False if there is too little left."""
        check(0 <= budget < BUDGETS)
        return self.c_take(share, budget, amount, now_s)
