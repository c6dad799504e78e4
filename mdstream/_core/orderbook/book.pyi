from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FlatLevels = Sequence[int] | NDArray[np.int64]

class Book:
    """An order book with a change log: the newest view, and what leads to it from any number the log still reaches.

    Ticks are integers of magnitude at most 2^53 - 1, lots 0 to 2^53 - 1. Levels are flat, ``[ticks, lots, …]``; a
    contiguous int64 array, flat or n × 2, is read without a Python object per number. What is no flat run of integers
    raises TypeError or ValueError.
    """

    def __init__(self, instrument: str, *, log_capacity: int = 16384, max_levels: int = 65536) -> None:
        """``log_capacity``: most level changes that the log keeps (an update without any counts as one); ``max_levels``: most levels
        a side."""
    @property
    def instrument(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def ts_us(self) -> int: ...
    def reset(self, epoch: int) -> None:
        """Empties the book and its log: number 0 of ``epoch``."""
    def load(self, epoch: int, seq: int, ts_us: int, bids: FlatLevels, asks: FlatLevels) -> None:
        """Replaces everything by a snapshot, best first. Raises BookError and changes nothing if it is none."""
    def apply(self, first: int, last: int, ts_us: int, bids: FlatLevels, asks: FlatLevels) -> None:
        """Applies one atomic update; lots 0 deletes, the last of several entries for one price counts.

        ``last`` must be beyond ``seq``; whether ``first`` is ``seq + 1`` is for the caller to judge. Raises BookError
        (crossed, range, too deep, numbers), changing nothing, the log included.
        """
    def reaches(self, since: int) -> bool:
        """Whether the log reaches back to number ``since``, and an update ended exactly there."""
    def delta(
        self, since: int, until: int | None = None, *, depth: int = 0, group: int = 1
    ) -> tuple[list[int], list[int]] | None:
        """Changes from the view at ``since`` to the view at ``until`` (default: now); None if the log does not reach.

        Each level that differs once, with its size at ``until``. Depth-limited and grouped: best first; full: in the order in
        which the levels first changed.
        """
    def view(
        self, *, depth: int = 0, group: int = 1, at: int | None = None
    ) -> tuple[list[int], list[int]] | None:
        """The view, best first, now or as it was at number ``at``; None if the log does not reach.

        ``depth`` 0 is all levels; it counts what remains after summing into buckets of ``group`` ticks.
        """
    def crc(self, *, depth: int = 0, group: int = 1) -> int:
        """CRC-32 of the contract over the view's best ten levels."""
    def best(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """Best bid and best ask as (ticks, lots), None where a side is empty."""
    def level(self, side: int, ticks: int) -> int:
        """Lots at a price; side 1 bid, 2 ask; 0 where there is no level."""
    def arrays(self, *, depth: int = 0, group: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bids and asks as (n, 2) arrays of ticks and lots, best first (copies)."""
    def diff_to(self, bids: FlatLevels, asks: FlatLevels) -> tuple[list[int], list[int]]:
        """The changes that turn this book into the full book given, best first (for publishers that get full books).

        Raises BookError if what is given is no book: unordered, a size of 0, out of range, crossed, too deep.
        """
    def __len__(self) -> int:
        """Levels on both sides."""
