"""Token buckets: so much at once, and so much per second in the long run. Time is monotonic, in seconds, and given by the caller."""

cdef struct Allowance:          # what a bucket may hold, and how it refills
    double most
    double per_second

cdef struct Bucket:
    double left                 # below 0: a debt
    double since_s

cdef enum:
    MOST_BUDGETS = 4            # in one object

# One bucket with its allowance.
cdef class Budget:
    cdef Bucket bucket
    cdef Allowance allowance

    cdef bint c_take(self, double now_s, double amount) noexcept

cdef class Allowances:
    cdef Allowance[MOST_BUDGETS] items
    cdef int count

cdef class Budgets:
    cdef Allowances allowances
    cdef Bucket[MOST_BUDGETS] buckets

    cdef int c_fill(self, Allowances allowances, double now_s) except -1
    # As `take`, from one that there is.
    cdef bint c_take(self, int number, double now_s, double amount) noexcept

# Others who are charged what a session costs. `budget`: as the session numbers its own.
cdef class Charged:
    # Whether all of them would give as much; False also if that is not known.
    cdef bint c_has(self, int budget, double amount, double now_s) noexcept
    cdef void c_take(self, int budget, double amount, double now_s) noexcept

# The same with a clock; the base of `mdstream.gateway.budget.SessionBudgets`.
cdef class ClockedBudgets(Budgets):
    cdef readonly object _now_s     # a clock in seconds, monotonic
    cdef public object also     # is charged the same, after these; None: nobody is

    # What the constructor does; `now_s` is the time of the clock.
    cdef int c_begin(self, Allowances allowances, object clock, double now_s) except -1
    # Whether it would give as much.
    cdef bint c_has(self, int number, double amount, double now_s) noexcept
    # Charge one budget, or two of them, here and of the others; or one of the others alone. False, and nothing is charged, if there is too
    # little or it is not known: then `charge` does it, or says what there is too little of.
    cdef bint c_charge(self, int number, double amount, double now_s) noexcept
    cdef bint c_charge_both(self, int number, double amount, int other, double other_amount, double now_s) noexcept
    cdef bint c_charge_others(self, int number, double amount, double now_s) noexcept
    cdef bint c_others_have(self, int number, double amount, double now_s) noexcept
    cdef void c_take_all(self, int number, double amount, double now_s) noexcept


cdef inline void bucket_fill(Bucket* bucket, const Allowance* allowance, double now_s) noexcept nogil:
    """A full bucket."""
    bucket.left = allowance.most
    bucket.since_s = now_s


cdef inline double bucket_left(Bucket* bucket, const Allowance* allowance, double now_s) noexcept nogil:
    """What is in it now."""
    cdef double passed_s = now_s - bucket.since_s
    if passed_s > 0:
        bucket.left = min(allowance.most, bucket.left + passed_s * allowance.per_second)
        bucket.since_s = now_s
    return bucket.left


cdef inline bint bucket_take(Bucket* bucket, const Allowance* allowance, double amount, double now_s) noexcept nogil:
    """Takes `amount`, if there is as much. More than it can hold is given when it is full; the rest is a debt, of at most `most`."""
    if bucket_left(bucket, allowance, now_s) < min(amount, allowance.most):
        return False
    bucket.left = max(bucket.left - amount, -allowance.most)
    return True
