"""Recorded books of Kraken through handler, NATS and gateway: the venue's checksums hold, and clients have its very books."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mdstream import feed
from mdstream.bus import EmbeddedNats
from mdstream.client import Book
from mdstream.feeds.kraken.events import BookMessage
from mdstream.feeds.kraken.pair import Pair
from mdstream.feeds.kraken.recording import read_recording
from mdstream.feeds.kraken.replay import Replay
from support.pipeline import DATA, Moments, both_formats, equal, needs, untroubled

V1 = DATA / "kraken_v1" / "KRAKEN.ws.50.0"
V2 = DATA / "kraken_v2" / "kraken_v2_book10_btcusd.jsonl"
VIEWS = [(0, 1, 0), (20, 1, 0), (10, 50, 0), (0, 1, 100)]
"""Depth, group and interval."""

pytestmark = needs(V1, V2)


def venues(pair: Pair) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    """The book as the handler proved it by the venue's checksum."""
    bids, asks = (
        [(Decimal(price), Decimal(size)) for price, size in side]
        for side in (pair.sync.book.bids, pair.sync.book.asks)
    )
    return bids, asks


async def show_first_books(publisher: feed.Publisher, path: Path) -> None:
    """Clients wait for an instrument's first book. The replay then begins a new epoch before their eyes."""
    pairs = Replay(publisher, path).pairs
    for pair in pairs.values():
        await pair.published.open()
    for recorded in read_recording(path):
        if isinstance(recorded.event, BookMessage) and recorded.event.snapshot:
            pairs[recorded.event.pair].on_book(recorded.event)


@pytest.mark.parametrize(("path", "pairs", "checked"), [(V1, 10, 4_269), (V2, 1, 9)])
def test_each_pair_ends_with_the_venues_book_at_every_client(
    path: Path,
    pairs: int,
    checked: int,
    run: Callable[..., Any],
    nats_server: EmbeddedNats,
    gateway: Callable[..., Any],
    report: Callable[[str], None],
) -> None:
    async def scenario() -> None:
        moments = Moments()
        async with (
            feed.connect(nats_server.url, venue="KRAKEN") as publisher,
            gateway(nats_server.url) as node,
            both_formats(node.url) as clients,
        ):
            replay = Replay(publisher, path)
            assert len(replay.pairs) == pairs
            await show_first_books(publisher, path)
            books: list[tuple[Pair, Book]] = []
            for client in clients:
                for name, pair in replay.pairs.items():
                    for depth, group, interval_ms in VIEWS:
                        book = await client.book(
                            f"KRAKEN:{name}", depth=depth, group=group, interval_ms=interval_ms
                        )
                        books.append((pair, moments.watch(book)))
            await replay.run(math.inf)
            right = sum(pair.sync.checked for pair in replay.pairs.values())
            assert (right, replay.refused) == (checked, 0)
            for pair, book in books:
                await moments.until(lambda pair=pair, book=book: equal(book, pair.published.instrument.book))
                if (book.request.depth, book.request.group) == (0, 1):
                    assert book.levels() == venues(pair)
            assert all(map(untroubled, clients))
        report(
            f"Kraken {path.parent.name}: {right} of {checked} checksums right; {pairs} books equal at the end"
        )

    run(scenario(), debug=False)
