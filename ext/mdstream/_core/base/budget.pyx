cimport cython

from mdstream._core.base.check cimport check


cdef class Budget:
    """Holds at most ``most`` tokens and refills evenly with ``per_second``; full at first. ``now_s`` is monotonic.

    More than it can hold is given when it is full, and the rest is a debt of at most ``most``: so nothing is too dear for a full
    budget, and the average holds.
    """

    def __init__(self, double most, double per_second, double now_s) -> None:
        self.allowance = Allowance(most, per_second)
        bucket_fill(&self.bucket, &self.allowance, now_s)

    def take(self, double now_s, double amount=1) -> bool:
        """Takes ``amount`` tokens; False, and takes nothing, if there are too few."""
        return self.c_take(now_s, amount)

    cdef bint c_take(self, double now_s, double amount) noexcept:
        return bucket_take(&self.bucket, &self.allowance, amount, now_s)

    def left(self, double now_s) -> float:
        """The tokens that are left; negative: a debt."""
        return bucket_left(&self.bucket, &self.allowance, now_s)


cdef class Allowances:
    """What each of several budgets may hold, and how it refills: (``most``, ``per_second``) of each."""

    def __init__(self, *pairs) -> None:
        if len(pairs) > MOST_BUDGETS:
            raise ValueError(f"{len(pairs)} budgets are too many; at most {MOST_BUDGETS} can share an object")
        for most, per_second in pairs:
            self.items[self.count] = Allowance(most, per_second)
            self.count += 1


@cython.no_gc              # nothing that it refers to refers to it: so the collector need not look at each
cdef class Budgets:
    """Several budgets in one object, full at first. The allowances are shared by all that have the same."""

    def __init__(self, Allowances allowances, double now_s) -> None:
        self.c_fill(allowances, now_s)

    cdef int c_fill(self, Allowances allowances, double now_s) except -1:
        cdef int number
        self.allowances = allowances
        for number in range(allowances.count):
            bucket_fill(&self.buckets[number], &allowances.items[number], now_s)
        return 0

    def take(self, int number, double now_s, double amount=1) -> bool:
        """As ``Budget.take``, from the budget of this number. Raises IndexError if there is none."""
        if not 0 <= number < self.allowances.count:
            raise IndexError(f"there is no budget {number}")
        return self.c_take(number, now_s, amount)

    cdef bint c_take(self, int number, double now_s, double amount) noexcept:
        check(0 <= number < self.allowances.count)
        return bucket_take(&self.buckets[number], &self.allowances.items[number], amount, now_s)


@cython.no_gc
cdef class Charged:
    cdef bint c_has(self, int budget, double amount, double now_s) noexcept:
        return False

    cdef void c_take(self, int budget, double amount, double now_s) noexcept:
        pass


@cython.no_gc
cdef class ClockedBudgets(Budgets):
    """The base of ``mdstream.gateway.budget.SessionBudgets``. ``also``: who is charged the same, if anybody."""

    def __init__(self, Allowances allowances, now_s) -> None:
        """``now_s`` is a clock."""
        self.c_begin(allowances, now_s, now_s())

    cdef int c_begin(self, Allowances allowances, object clock, double now_s) except -1:
        self._now_s = clock
        return self.c_fill(allowances, now_s)

    cdef bint c_has(self, int number, double amount, double now_s) noexcept:
        cdef const Allowance* allowance = &self.allowances.items[number]
        return bucket_left(&self.buckets[number], allowance, now_s) >= min(amount, allowance.most)

    cdef bint c_charge(self, int number, double amount, double now_s) noexcept:
        if not self.c_has(number, amount, now_s) or not self.c_others_have(number, amount, now_s):
            return False
        self.c_take_all(number, amount, now_s)
        return True

    cdef bint c_charge_both(self, int number, double amount, int other, double other_amount, double now_s) noexcept:
        if not self.c_has(number, amount, now_s) or not self.c_has(other, other_amount, now_s):
            return False
        if not self.c_others_have(number, amount, now_s) or not self.c_others_have(other, other_amount, now_s):
            return False
        self.c_take_all(number, amount, now_s)
        self.c_take_all(other, other_amount, now_s)
        return True

    cdef bint c_charge_others(self, int number, double amount, double now_s) noexcept:
        if not self.c_others_have(number, amount, now_s):
            return False
        if self.also is not None:
            (<Charged>self.also).c_take(number, amount, now_s)
        return True

    cdef bint c_others_have(self, int number, double amount, double now_s) noexcept:
        if self.also is None:
            return True
        return isinstance(self.also, Charged) and (<Charged>self.also).c_has(number, amount, now_s)

    cdef void c_take_all(self, int number, double amount, double now_s) noexcept:
        self.c_take(number, now_s, amount)
        if self.also is not None:
            (<Charged>self.also).c_take(number, amount, now_s)
