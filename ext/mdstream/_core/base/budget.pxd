"""Token buckets: so much at once, and so much per second in the long run. Time is monotonic, in seconds, and given by the caller."""

cdef struct Allowance:          # what a bucket may hold, and how it refills
    double most
    double per_second

cdef struct Bucket:
    double left                 # below 0: a debt
    double since_s


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
