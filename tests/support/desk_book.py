"""A book on a desk, as the tests of the client's connection want it."""

from __future__ import annotations

from typing import Any

from mdstream.client.book import Book
from mdstream.client.protocol import Request
from mdstream.client.states import SubscriptionState

BTC = Request("book", "SIM:BTC-USD")
EMPTY = [2, 7, 1, 5, 1, [], [], 0, "subscribe"]


def with_book(desk: Any, request: Request = BTC, sub: int = 7) -> Book:
    """A book that is live at number 5 of epoch 1."""
    book = Book(request, desk.core)
    desk.core.subscribe(book, desk.now)
    desk.act()
    desk.agree(sub)
    desk.say([2, sub, 1, 5, 1, [], [], 0, "subscribe"])
    assert book.state is SubscriptionState.LIVE
    return book
