"""What is remembered of offers of subprotocols and extensions: a bounded table that strangers cannot spoil."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")

REMEMBERED: Final = 256
"""The most offers."""
LONGEST: Final = 512
"""Bytes of an offer. Those of real clients have about a hundred."""

Offer: TypeAlias = tuple[bytes | None, bytes | None]
"""Subprotocols and extensions, as the request lists them."""


class _Entry(Generic[T]):
    __slots__ = ("answer", "uses")

    def __init__(self, answer: T) -> None:
        self.answer = answer
        self.uses = 0
        """Since it was added; halved each time that the entry could have been forgotten."""


class Offers(Generic[T]):
    """By offer, what it leads to.

    A full table forgets the oldest offer that was not used again since it was last looked at. So offers that come once, however
    many, displace each other, and never one that is in use.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[Offer, _Entry[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, offer: object) -> bool:
        return offer in self._entries

    def find(self, offer: Offer) -> T | None:
        entry = self._entries.get(offer)
        if entry is None:
            return None
        entry.uses += 1
        return entry.answer

    def remember(self, offer: Offer, answer: T) -> None:
        """Keeps an offer that was accepted, unless it is longer than any real one."""
        if sum(len(part) for part in offer if part) > LONGEST:
            return
        while len(self._entries) >= REMEMBERED:
            self._forget_one()
        self._entries[offer] = _Entry(answer)

    def _forget_one(self) -> None:
        """Each entry that is in use is passed over, for at most as many rounds as its uses have binary digits."""
        while True:
            offer, entry = self._entries.popitem(last=False)
            if not entry.uses:
                return
            entry.uses //= 2
            self._entries[offer] = entry
