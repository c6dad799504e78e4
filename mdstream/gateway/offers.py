"""What is remembered of offers of subprotocols and extensions: a bounded table that strangers cannot spoil."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from mdstream._core.entry.offers import Decided, OfferTable

T = TypeVar("T")

REMEMBERED: Final = 256
"""The most offers."""
LONGEST: Final = 512
"""Bytes of an offer. Those of real clients have about a hundred."""

Offer: TypeAlias = tuple[bytes | None, bytes | None]
"""Subprotocols and extensions, as the request lists them."""


class Offers(OfferTable, Generic[T]):
    """By offer, what it leads to.

    A full table forgets the oldest offer that was not used again since it was last looked at. So offers that come once, however
    many, displace each other, and never one that is in use.
    """

    if TYPE_CHECKING:

        def find(self, offer: Offer) -> T | None: ...

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, offer: object) -> bool:
        return offer in self._entries

    def remember(self, offer: Offer, answer: T) -> None:
        """Keeps an offer that was accepted, unless it is longer than any real one."""
        if sum(len(part) for part in offer if part) > LONGEST:
            return
        while len(self._entries) >= REMEMBERED:
            self._forget_one()
        self._entries[offer] = Decided(answer)

    def _forget_one(self) -> None:
        """Each entry that is in use is passed over, for at most as many rounds as its uses have binary digits."""
        while True:
            offer, entry = self._entries.popitem(last=False)
            if not entry.uses:
                return
            entry.uses //= 2
            self._entries[offer] = entry
