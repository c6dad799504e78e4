"""Steps that keep one pair's book equal to the venue's. No I/O.

The venue numbers nothing: a snapshot begins, each update is proven by its checksum, and after a mismatch only a new
subscription, with its snapshot, helps.
"""

from __future__ import annotations

from feeds._steps import Apply, Load, Lost, Step
from feeds.kraken.book import Precision, VenueBook
from feeds.kraken.events import BookMessage
from mdstream.errors import FeedError


class PairSync:
    """``wants_snapshot`` says that the book is in doubt: subscribe again."""

    def __init__(self, pair: str, depth: int, precision: Precision) -> None:
        self.book = VenueBook(pair, depth, precision)
        self.live = False
        self.wants_snapshot = False
        self.checked = 0
        """Checksums that were right."""

    def lose(self, reason: str) -> list[Step]:
        """The connection, or the trust in what came by it, is lost."""
        was_live, self.live = self.live, False
        return [Lost(reason)] if was_live else []

    def on_book(self, message: BookMessage) -> list[Step]:
        if not message.snapshot and not self.live:
            return []
        try:
            step = self._load(message) if message.snapshot else self._apply(message)
        except FeedError as error:
            self.wants_snapshot = True
            return self.lose(str(error))
        self.checked += message.checksum is not None
        return [step]

    def _load(self, message: BookMessage) -> Load:
        self.book.load(message.bids, message.asks, message.checksum)
        self.live, self.wants_snapshot = True, False
        return Load(self.book.bids, self.book.asks, message.ts_us)

    def _apply(self, message: BookMessage) -> Apply:
        changes = self.book.update(message.bids, message.asks, message.checksum)
        return Apply(changes.bids, changes.asks, message.ts_us)
