from collections.abc import Sequence
from typing import Self

from typing_extensions import disjoint_base

from mdstream._core.orderbook.book import FlatLevels

@disjoint_base
class Messages:
    """Views or changes, ``[(bids, asks), …]``, that are encoded one after the other without Python between."""

    def __new__(cls, pairs: Sequence[tuple[FlatLevels, FlatLevels]]) -> Self: ...
    def deltas(self, format: int, price_exp: int, size_exp: int, rounds: int) -> int:
        """Each as a delta, ``rounds`` times over; returns the bytes written."""
    def snapshots(self, format: int, price_exp: int, size_exp: int, rounds: int) -> int: ...
    def checksums(self, rounds: int) -> int:
        """The checksums of all, ``rounds`` times over, in one number."""
