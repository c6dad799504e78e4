cdef enum:
    MOST_BUDGETS = 4            # in one object


cdef class Budget:
    """Holds at most ``most`` tokens and refills evenly with ``per_second``; full at first. ``now_s`` is monotonic.

    More than it can hold is given when it is full, and the rest is a debt of at most ``most``: so nothing is too dear for a full
    budget, and the average holds.
    """

    cdef Bucket bucket
    cdef Allowance allowance

    def __init__(self, double most, double per_second, double now_s) -> None:
        self.allowance = Allowance(most, per_second)
        bucket_fill(&self.bucket, &self.allowance, now_s)

    def take(self, double now_s, double amount=1) -> bool:
        """Takes ``amount`` tokens; False, and takes nothing, if there are too few."""
        return bucket_take(&self.bucket, &self.allowance, amount, now_s)

    def left(self, double now_s) -> float:
        """The tokens that are left; negative: a debt."""
        return bucket_left(&self.bucket, &self.allowance, now_s)


cdef class Allowances:
    """What each of several budgets may hold, and how it refills: (``most``, ``per_second``) of each."""

    cdef Allowance[MOST_BUDGETS] items
    cdef int count

    def __init__(self, *pairs) -> None:
        if len(pairs) > MOST_BUDGETS:
            raise ValueError(f"{len(pairs)} budgets are too many; at most {MOST_BUDGETS} can share an object")
        for most, per_second in pairs:
            self.items[self.count] = Allowance(most, per_second)
            self.count += 1


cdef class Budgets:
    """Several budgets in one object, full at first. The allowances are shared by all that have the same."""

    cdef Allowances allowances
    cdef Bucket[MOST_BUDGETS] buckets

    def __init__(self, Allowances allowances, double now_s) -> None:
        cdef int number
        self.allowances = allowances
        for number in range(allowances.count):
            bucket_fill(&self.buckets[number], &allowances.items[number], now_s)

    def take(self, int number, double now_s, double amount=1) -> bool:
        """As ``Budget.take``, from the budget of this number. Raises IndexError if there is none."""
        if not 0 <= number < self.allowances.count:
            raise IndexError(f"there is no budget {number}")
        return bucket_take(&self.buckets[number], &self.allowances.items[number], amount, now_s)
