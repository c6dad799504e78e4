from cpython.bytearray cimport PyByteArray_FromStringAndSize
from libc.math cimport ceil
from libc.string cimport memset

import numpy as np

cdef int64_t BEYOND = (<int64_t>1 << VALUE_BITS) - 1


cdef class Histogram:
    """Latencies in µs, counted in log-linear buckets: three significant digits from 1 µs to 134 s, in constant memory.

    Each value below 2,048 µs has its own bucket. Above, each doubling has 1,024 buckets, so a value is known to 0.1 %. Negative
    values count as 0, values above the last bucket as its end. ``min``, ``max`` and ``mean`` are exact; ``min`` is 0 without values.
    """
    @property
    def min(self):
        return self.low if self.count else 0

    @property
    def mean(self):
        return self.sum / <double>self.count if self.count else 0.0

    cdef void c_record(self, int64_t value, uint64_t count) noexcept nogil:
        if value < 0:
            value = 0
        elif value > BEYOND:
            value = BEYOND
        if self.count == 0 or value < self.low:
            self.low = value
        if value > self.max:
            self.max = value
        self.buckets[bucket_of(value)] += count
        self.count += count
        self.sum += <uint64_t>value * count

    cdef void c_reset(self) noexcept nogil:
        memset(self.buckets, 0, sizeof(self.buckets))
        self.count = self.sum = 0
        self.low = self.max = 0

    def record(self, int64_t value_us, int64_t count=1):
        """Counts a value; ValueError if ``count`` is negative."""
        if count < 0:
            raise ValueError(f"count was {count}; it must not be negative")
        if count:
            self.c_record(value_us, count)

    def add(self, Histogram other not None):
        """Adds the values of ``other``, which may come from another process or run."""
        cdef Py_ssize_t i
        if other.count == 0:
            return
        self.low = other.low if self.count == 0 else min(self.low, other.low)
        self.max = max(self.max, other.max)
        self.count += other.count
        self.sum += other.sum
        for i in range(BUCKETS):
            self.buckets[i] += other.buckets[i]

    def reset(self):
        self.c_reset()

    def percentile(self, double percent):
        """The smallest value that ``percent`` of all values do not exceed, rounded up to the end of its bucket; 0 without values.

        100 gives ``max``. ValueError outside 0 to 100.
        """
        cdef uint64_t wanted, seen = 0
        cdef Py_ssize_t i
        if not 0 <= percent <= 100:
            raise ValueError(f"percentile {percent} is not between 0 and 100")
        wanted = max(<uint64_t>1, min(self.count, <uint64_t>ceil(percent / 100 * <double>self.count)))
        for i in range(BUCKETS):
            seen += self.buckets[i]
            if seen >= wanted:
                return max(self.low, min(bucket_end(i), self.max))
        return 0

    def counts(self):
        """The count of each bucket; a copy."""
        return np.frombuffer(PyByteArray_FromStringAndSize(<char*>self.buckets, sizeof(self.buckets)), np.uint64)

    @staticmethod
    def bounds():
        """The greatest value of each bucket, in µs."""
        return np.array([bucket_end(i) for i in range(BUCKETS)], np.int64)

    def to_dict(self):
        """For JSON: ``count``, ``min``, ``max``, ``sum``, and ``buckets`` as ``[index, count]`` of those that are not empty."""
        return {
            "count": self.count,
            "min": self.min,
            "max": self.max,
            "sum": self.sum,
            "buckets": [[i, self.buckets[i]] for i in range(BUCKETS) if self.buckets[i]],
        }

    @classmethod
    def from_dict(cls, saved):
        """The inverse of ``to_dict``; ValueError if ``saved`` does not come from there."""
        cdef Histogram made = cls()
        cdef Py_ssize_t bucket
        cdef uint64_t total = 0, count
        try:
            for bucket, count in saved["buckets"]:
                if not 0 <= bucket < BUCKETS:
                    raise ValueError(f"there is no bucket {bucket}")
                made.buckets[bucket] += count
                total += count
            made.count, made.sum, made.low, made.max = saved["count"], saved["sum"], saved["min"], saved["max"]
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"this is no saved histogram: {error!r}") from error
        if total != made.count:
            raise ValueError(f"this is no saved histogram: its buckets hold {total} values, not {made.count}")
        return made
