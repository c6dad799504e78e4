"""What counts as the venue's word about one symbol."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mdstream.feeds.binance.book import SymbolBook
from mdstream.feeds.binance.events import DepthDiff, DepthSnapshot, Trade
from mdstream.feeds.binance.rest import SymbolInfo


class Published:
    """The published instrument, which takes everything."""

    symbol = "X"
    wants_rescale = False
    frozen = False
    scale = SymbolInfo("X", "0.01", "0.01", "TRADING").scale

    def perform(self, actions: Any) -> None: ...

    def trade(self, *_: Any) -> None: ...


class Venue:
    """Answers with one snapshot."""

    def __init__(self) -> None:
        self.snapshot = DepthSnapshot(10, [("1", "1")], [])

    async def depth(self, *_: Any) -> DepthSnapshot:
        return self.snapshot


def diff(first: int, final: int) -> DepthDiff:
    return DepthDiff("X", 1_700_000_000_000, first, final, [("1", "2")], [])


def trade(number: int) -> Trade:
    return Trade("X", 1_700_000_000_000, number, "1", "1", False)


async def live_book() -> tuple[SymbolBook, Venue]:
    """At 12."""
    venue = Venue()
    book = SymbolBook(Published(), venue, SymbolInfo("X", "0.01", "0.01", "TRADING"), limit=0)  # type: ignore[arg-type]
    assert book.on_diff(diff(11, 12))
    while not book.live:
        await asyncio.sleep(0)
    return book, venue


def test_only_what_is_new_is_a_word_of_the_venue() -> None:
    async def scenario() -> None:
        book, _ = await live_book()
        assert book.on_diff(diff(13, 13))
        assert [book.on_diff(diff(13, 13)) for _ in range(5)] == [False] * 5
        assert book.on_trade(trade(1))
        assert not book.on_trade(trade(1))
        book.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(("update_id", "agrees"), [(9, None), (11, None), (12, True), (13, False)])
def test_an_answer_of_rest_that_is_older_than_the_book_proves_nothing(
    update_id: int, agrees: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr("mdstream.feeds.binance.book.CHECK_GRACE_S", 0.0)
        book, venue = await live_book()
        monkeypatch.setattr(book, "_shows_the_same", lambda _: False)
        venue.snapshot = DepthSnapshot(update_id, [("1", "1")], [])
        assert await book.agrees() is agrees
        book.stop()

    asyncio.run(scenario())
