"""The size of a book's snapshot as a message, known without packing it."""

from __future__ import annotations

from mdstream._core.codec.feed_encoder import pack_snap
from mdstream._core.orderbook.book import Book
from mdstream.feed.numbers import FlatLevels

LEVEL_BYTES = 18
"""Two integers of 64 bits."""
HEAD_BYTES = 64

_BID, _ASK = 1, 2


class SnapSize:
    """Bounds the size from above while the book is small, and counts it exactly while it may be too large."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = HEAD_BYTES
        self._exact = False

    @property
    def bytes(self) -> int:
        """The size; while it fits, no less than the size."""
        return self._bytes

    @property
    def fits(self) -> bool:
        return self._bytes <= self._max_bytes

    def after(self, book: Book, bids: FlatLevels, asks: FlatLevels) -> int:
        """The size after an update that the book has not taken yet; ``take`` it if the book does."""
        if not self._exact:
            bound = self._bytes + (len(bids) + len(asks)) // 2 * LEVEL_BYTES
            if bound <= self._max_bytes:
                return bound
            self._bytes, self._exact = packed_size(book), True
        return self._bytes + _growth(book, _BID, bids) + _growth(book, _ASK, asks)

    def take(self, size: int) -> None:
        self._bytes = size
        if self._exact and size < self._max_bytes // 2:
            self._exact = False


def packed_size(book: Book) -> int:
    view = book.view()
    assert view is not None, "the view as of now needs no log"
    return HEAD_BYTES + len(pack_snap(1, 0, 0, *view))


def full_size(bids: FlatLevels, asks: FlatLevels) -> int:
    """The size of a snapshot of these levels."""
    return HEAD_BYTES + sum(int_size(int(number)) for side in (bids, asks) for number in side)


def _growth(book: Book, side: int, flat: FlatLevels) -> int:
    grown = 0
    for ticks, lots in zip(map(int, flat[::2]), map(int, flat[1::2]), strict=True):
        before = book.level(side, ticks)
        if before:
            grown -= int_size(ticks) + int_size(before)
        if lots:
            grown += int_size(ticks) + int_size(lots)
    return grown


def int_size(number: int) -> int:
    """Bytes of an integer in MessagePack."""
    if number < 0:
        return 1 if number >= -32 else _bytes_of(-number - 1, 0x7F, 0x7FFF, 0x7FFFFFFF)
    return 1 if number < 128 else _bytes_of(number, 0xFF, 0xFFFF, 0xFFFFFFFF)


def _bytes_of(number: int, one: int, two: int, four: int) -> int:
    return 2 if number <= one else 3 if number <= two else 5 if number <= four else 9
