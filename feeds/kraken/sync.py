"""Gives the actions that keep one pair's book equal to the venue's. No I/O.

The venue does not number its updates. A checksum proves each one; after a mismatch only a new subscription, which begins
with a snapshot, helps.
"""

from __future__ import annotations

from mdstream.errors import FeedError
from mdstream.feeds._actions import Apply, BookAction, Load, Lost
from mdstream.feeds.kraken.book import Precision, VenueBook
from mdstream.feeds.kraken.events import BookMessage


class PairSync:
    """``wants_snapshot`` means that the book is wrong: subscribe again."""

    def __init__(self, pair: str, depth: int, precision: Precision) -> None:
        self.book = VenueBook(pair, depth, precision)
        self.live = False
        self.wants_snapshot = False
        self.checked = 0
        """Right checksums."""
        self.mismatches = 0
        self._ts_us = 0

    def use(self, precision: Precision) -> None:
        """Changes the decimals; a snapshot must follow."""
        self.book = VenueBook(self.book.pair, self.book.depth, precision)

    def lose(self, reason: str) -> list[BookAction]:
        """The connection is lost; the next begins with a snapshot."""
        self._ts_us = 0
        was_live, self.live = self.live, False
        return [Lost(reason)] if was_live else []

    def doubt(self, reason: str) -> list[BookAction]:
        """The book is wrong, but the connection is fine: only a new subscription helps."""
        self.wants_snapshot = True
        return self.lose(reason)

    def on_book(self, message: BookMessage) -> list[BookAction]:
        if not message.snapshot and not self.live:
            return []
        try:
            action = self._load(message) if message.snapshot else self._apply(message)
        except FeedError as error:
            self.mismatches += 1
            return self.doubt(str(error))
        self.checked += message.checksum is not None
        self._ts_us = max(self._ts_us, message.ts_us)
        return [] if action is None else [action]

    def _load(self, message: BookMessage) -> Load:
        self.book.load(message.bids, message.asks, message.checksum)
        self.live, self.wants_snapshot = True, False
        return Load(self.book.bids, self.book.asks, message.ts_us)

    def _apply(self, message: BookMessage) -> Apply | None:
        """None for a repetition: a venue that says again what it has said proves nothing."""
        changes = self.book.update(message.bids, message.asks, message.checksum)
        if not changes.any and message.ts_us <= self._ts_us:
            return None
        return Apply(changes.bids, changes.asks, message.ts_us)
