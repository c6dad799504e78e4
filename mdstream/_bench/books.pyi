"""The books that a load test publishes."""

from collections.abc import Sequence

class Books:
    """The books of all symbols of a test: 20 to ``levels`` levels a side, never crossed; the same seed gives the same updates.

    A symbol is known by the beginning of its NATS subjects, ``md.<venue>.<symbol>``.
    """

    def __init__(self, subjects: Sequence[str], *, epoch: int, levels: int = 40, seed: int = 1) -> None:
        """``epoch``: µs since the Unix epoch, greater than of any writer before. ``levels`` is 20 to 1,000."""
    @property
    def subjects(self) -> list[str]: ...
    @property
    def epoch(self) -> int: ...
    def announcements(self, ts_us: int) -> list[tuple[str, bytes]]:
        """What must be stored (published with JetStream's ack, in this order) before a gateway asks: for each symbol ``ref``
        (price_exp -2, size_exp -8), the ``book`` update that builds the book if that is new, and ``snap``.
        """
    def seq(self, symbol: int) -> int:
        """The number of the last update of a symbol, by its place in ``subjects``."""
    def seqs(self) -> list[int]: ...
    def view(self, symbol: int, depth: int = 0) -> tuple[list[int], list[int]]:
        """Bids and asks, flat and best first; ``depth`` 0 is all."""
    def crc(self, symbol: int) -> int:
        """The contract's checksum of the book as it is."""
