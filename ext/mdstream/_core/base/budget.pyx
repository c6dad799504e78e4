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
