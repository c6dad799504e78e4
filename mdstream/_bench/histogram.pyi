"""Latencies in µs, counted in log-linear buckets: three significant digits from 1 µs to 134 s, in constant memory."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

class Histogram:
    """Below 2,048 µs every value has its own bucket; above, each doubling is cut into 1,024, so a value is known to 0.1 %.

    Negative values count as 0, those beyond the last bucket as its end. ``min``, ``max`` and ``mean`` are exact.
    """

    def __init__(self) -> None: ...
    def record(self, value_us: int, count: int = 1) -> None:
        """Counts a value; ValueError if ``count`` is negative."""
    def add(self, other: Histogram) -> None:
        """Adds all that ``other`` counted: of another process, or another run."""
    def reset(self) -> None: ...
    def percentile(self, percent: float) -> int:
        """The smallest value that ``percent`` of all do not exceed, rounded up to its bucket's end; 0 if nothing was counted.

        100 gives ``max``. ValueError outside 0 to 100.
        """
    def counts(self) -> NDArray[np.uint64]:
        """How often each bucket was hit; a copy."""
    @staticmethod
    def bounds() -> NDArray[np.int64]:
        """The greatest value of each bucket, in µs."""
    def to_dict(self) -> dict[str, int | list[list[int]]]:
        """For JSON: ``count``, ``min``, ``max``, ``sum``, and ``buckets`` as ``[index, count]`` of those that were hit."""
    @classmethod
    def from_dict(cls, saved: dict[str, int | list[list[int]]]) -> Self:
        """The inverse of ``to_dict``; ValueError for what it did not write."""
    @property
    def count(self) -> int: ...
    @property
    def min(self) -> int:
        """µs; 0 if nothing was counted."""
    @property
    def max(self) -> int: ...
    @property
    def sum(self) -> int: ...
    @property
    def mean(self) -> float: ...
