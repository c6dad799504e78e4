"""Recorded books of Kraken, both versions of its API: the venue's checksum is right after every message that carries one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from mdstream.feed import InstrumentWriter
from mdstream.feeds._actions import Apply, Load, Lost
from mdstream.feeds.kraken.events import BookMessage
from mdstream.feeds.kraken.recording import PairSummary, read_recording, summarize
from mdstream.feeds.kraken.sync import PairSync
from mdstream.model import InstrumentId, Ref
from support.pipeline import DATA, needs

V1 = DATA / "kraken_v1" / "KRAKEN.ws.50.0"
V2 = DATA / "kraken_v2" / "kraken_v2_book10_btcusd.jsonl"

pytestmark = needs(V1, V2)


class Follower:
    """One pair's way from the venue's messages to the book that is published."""

    def __init__(self, summary: PairSummary) -> None:
        self.sync = PairSync(summary.pair, summary.depth, summary.precision)
        self.writer = InstrumentWriter(
            InstrumentId("KRAKEN", summary.pair), Ref(summary.price_exp, summary.size_exp), epoch=1
        )

    def take(self, message: BookMessage) -> None:
        for step in self.sync.on_book(message):
            assert not isinstance(step, Lost), step
            if isinstance(step, Load):
                self.writer.replace(step.bids, step.asks, step.ts_us)
            elif isinstance(step, Apply):
                self.writer.update(step.bids, step.asks, step.ts_us)

    def published(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        ref = self.writer.ref
        view = self.writer.book.view()
        assert view is not None
        bids, asks = (
            [
                (Decimal(ticks).scaleb(ref.price_exp), Decimal(lots).scaleb(ref.size_exp))
                for ticks, lots in zip(flat[::2], flat[1::2], strict=True)
            ]
            for flat in view
        )
        return bids, asks


def follow(path: Path) -> dict[str, Follower]:
    followers = {pair: Follower(summary) for pair, summary in summarize(path).items()}
    for recorded in read_recording(path):
        if isinstance(recorded.event, BookMessage):
            followers[recorded.event.pair].take(recorded.event)
    return followers


@pytest.mark.parametrize(("path", "pairs", "checked"), [(V1, 10, 4_269), (V2, 1, 9)])
def test_every_checksum_is_right(path: Path, pairs: int, checked: int) -> None:
    followers = follow(path)
    assert len(followers) == pairs
    assert sum(follower.sync.checked for follower in followers.values()) == checked


@pytest.mark.parametrize("path", [V1, V2])
def test_what_is_published_is_the_venues_book(path: Path) -> None:
    for follower in follow(path).values():
        venue = follower.sync.book
        bids, asks = follower.published()
        assert bids == [(Decimal(price), Decimal(size)) for price, size in venue.bids]
        assert asks == [(Decimal(price), Decimal(size)) for price, size in venue.asks]
        assert 0 < len(bids) <= venue.depth


def test_decimals_that_json_lost_are_found_by_the_checksum() -> None:
    (summary,) = summarize(V2).values()
    assert (summary.precision.price, summary.precision.size) == (1, 8)
