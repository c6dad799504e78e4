"""A recorded morning of Binance's BTCUSDT through handler, NATS and gateway: every subscriber sees the venue's own book."""

from __future__ import annotations

import signal
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mdstream import feed
from mdstream._core.orderbook.book import Book as CoreBook
from mdstream.bus import EmbeddedNats
from mdstream.client import Book, Client, Ticker, Trades
from mdstream.feed import InstrumentWriter
from mdstream.feeds._actions import Apply, Load
from mdstream.feeds._published import PublishedInstrument, Scale
from mdstream.feeds.binance.events import BookTicker, DepthDiff, DepthSnapshot, Trade
from mdstream.feeds.binance.recording import read_recording, summarize
from mdstream.feeds.binance.sync import DepthSync
from mdstream.model import InstrumentId, Ref
from support.pipeline import (
    DATA,
    FORMATS,
    Moments,
    announced,
    both_formats,
    equal,
    guarded,
    needs,
    untroubled,
)
from support.program import Program

RECORDING = DATA / "binance_spot_btcusdt" / "btcusdt_20240808.gz"
INSTRUMENT = "BINANCE:BTCUSDT"
DIFFS, TRADES = 3_449, 9_757
VIEWS = [(0, 1, 100), (20, 1, 0), (20, 1, 250), (0, 100, 0), (10, 1_000, 50)]
"""Depth, group and interval of the views that need only end equal."""

pytestmark = needs(RECORDING)

Quote = tuple[Decimal, Decimal, Decimal, Decimal]


class Venue:
    """The recording: its events, and the venue's own best bid and ask at each of its update numbers."""

    def __init__(self) -> None:
        self.events = [recorded.event for recorded in read_recording(RECORDING)]
        tickers = [event for event in self.events if isinstance(event, BookTicker)]
        self._numbers = [ticker.update_id for ticker in tickers]
        self._quotes: list[Quote] = [
            (Decimal(t.bid_price), Decimal(t.bid_size), Decimal(t.ask_price), Decimal(t.ask_size))
            for t in tickers
        ]
        self.traded = [
            (Decimal(event.price), Decimal(event.size), event.side, event.trade_id)
            for event in self.events
            if isinstance(event, Trade)
        ]
        summary = summarize(RECORDING)
        self.scale = Scale(summary.price_exp, summary.size_exp)
        self.sync = DepthSync()

    def quote(self, update_id: int) -> Quote:
        return self._quotes[bisect_right(self._numbers, update_id) - 1]

    def publish(self, published: PublishedInstrument, event: object) -> int | None:
        """Publishes one event; returns the venue's number if it was a diff that changed the book."""
        if isinstance(event, Trade):
            published.instrument.trade(
                event.price, event.size, event.side, trade_id=event.trade_id, ts_us=event.ts_us
            )
            return None
        if isinstance(event, DepthDiff):
            steps = self.sync.on_diff(event)
        elif isinstance(event, DepthSnapshot):
            steps = self.sync.on_snapshot(event)
        else:
            return None
        assert published.perform(steps) is None
        return steps[-1].venue_seq if steps and isinstance(steps[-1], Apply) else None


@pytest.fixture(scope="module")
def venue() -> Venue:
    return Venue()


def best(book: Book) -> Quote:
    bid, ask = book.best_bid, book.best_ask
    assert bid is not None and ask is not None
    return *bid, *ask


class Subscriber:
    """One client: the full book at every change, other views, trades and ticker."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.views: list[Book] = []
        self.traded: list[tuple[Decimal, Decimal, str | None, int | str]] = []

    async def subscribe(self, moments: Moments) -> None:
        self.full: Book = moments.watch(await self.client.book(INSTRUMENT))
        for depth, group, interval_ms in VIEWS:
            book = await self.client.book(INSTRUMENT, depth=depth, group=group, interval_ms=interval_ms)
            self.views.append(moments.watch(book))
        self.ticker: Ticker = await self.client.ticker(INSTRUMENT)
        self.ticker.on_update(moments.changed)
        trades: Trades = await self.client.trades(INSTRUMENT)
        trades.on_trade(lambda t: self.traded.append((t.price, t.size, t.side, t.trade_id)))
        trades.on_trade(moments.changed)


@asynccontextmanager
async def subscribers_of(url: str, moments: Moments) -> AsyncIterator[list[Subscriber]]:
    """One of each format."""
    async with both_formats(url) as clients:
        subscribers = [Subscriber(client) for client in clients]
        for subscriber in subscribers:
            await subscriber.subscribe(moments)
        yield subscribers


async def check_the_end(
    published: CoreBook, subscribers: list[Subscriber], venue: Venue, moments: Moments
) -> None:
    """Every view is the publisher's, every trade has come, and nothing was wrong on the way."""
    for subscriber in subscribers:
        for book in (subscriber.full, *subscriber.views):
            await moments.until(lambda book=book: equal(book, published))
        await moments.until(lambda s=subscriber: len(s.traded) >= TRADES)
        assert subscriber.traded == venue.traded
        bid, ask = subscriber.ticker.bid, subscriber.ticker.ask
        assert bid is not None and ask is not None
        assert (*bid, *ask) == best(subscriber.full)
        assert untroubled(subscriber.client), subscriber.client.stats


def test_after_each_diff_every_subscriber_has_the_venues_best_bid_and_ask(
    run: Callable[..., Any],
    nats_server: EmbeddedNats,
    gateway: Callable[..., Any],
    venue: Venue,
    report: Callable[[str], None],
) -> None:
    """One diff at a time, so that each is seen: nothing more is published before the subscribers have the last one."""

    async def scenario() -> None:
        moments = Moments()
        async with (
            feed.connect(nats_server.url, venue="BINANCE") as publisher,
            gateway(nats_server.url) as node,
        ):
            published = PublishedInstrument(publisher, "BTCUSDT", venue.scale)
            await published.open()
            # Clients wait for an instrument's first book; the recording then begins a new epoch before their eyes.
            published.instrument.replace([("1", "1")], [("2", "1")])
            async with subscribers_of(node.url, moments) as subscribers:
                await published.open()
                instrument = published.instrument
                right = dict.fromkeys(FORMATS, 0)
                for event in venue.events:
                    number = venue.publish(published, event)
                    if number is None:
                        continue
                    await publisher.flush()
                    # Also an update that changes nothing shows its number: one diff deletes only what was not there.
                    await moments.until(lambda: all(s.full.seq == instrument.seq for s in subscribers))
                    for name, subscriber in zip(FORMATS, subscribers, strict=True):
                        right[name] += best(subscriber.full) == venue.quote(number)
                assert right == dict.fromkeys(FORMATS, DIFFS)
                await check_the_end(instrument.book, subscribers, venue, moments)
        report(f"Binance: best bid and ask equal the venue's after {DIFFS} of {DIFFS} diffs, in each format")

    run(scenario(), deadline_s=90, debug=False)


def expected_books(venue: Venue) -> tuple[dict[int, Quote], CoreBook]:
    """The venue's best bid and ask at each of our numbers after the first, which is its snapshot; and the last book."""
    ref = Ref(venue.scale.price_exp, venue.scale.size_exp)
    writer, sync = InstrumentWriter(InstrumentId.parse(INSTRUMENT), ref, epoch=1), DepthSync()
    quotes: dict[int, Quote] = {}
    for event in venue.events:
        if isinstance(event, DepthSnapshot):
            steps = sync.on_snapshot(event)
        elif isinstance(event, DepthDiff):
            steps = sync.on_diff(event)
        else:
            continue
        for step in steps:
            if isinstance(step, Apply):
                writer.update(step.bids, step.asks, step.ts_us)
                quotes[writer.book.seq] = venue.quote(step.venue_seq)
            elif isinstance(step, Load):
                writer.replace(step.bids, step.asks, step.ts_us)
    return quotes, writer.book


def test_the_programs_as_a_user_runs_them(
    run: Callable[..., Any],
    nats_server: EmbeddedNats,
    venue: Venue,
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    """Gateway and handler are processes; whatever number a subscriber is shown, its best bid and ask are the venue's."""
    quotes, last = expected_books(venue)
    shown = dict.fromkeys(FORMATS, 0)

    def check(name: str, book: Book) -> None:
        assert best(book) == quotes[book.seq]
        shown[name] += 1

    async def scenario(url: str) -> None:
        moments = Moments()
        async with both_formats(url) as clients:
            books = [moments.watch(await announced(client.book, INSTRUMENT)) for client in clients]
            wrong: list[AssertionError] = []
            for name, book in zip(FORMATS, books, strict=True):
                book.on_update(lambda update, name=name, book=book: guarded(wrong, check, name, book))
            for book in books:
                await moments.until(lambda book=book: wrong or equal(book, last))
            assert not wrong
            assert all(map(untroubled, clients))

    serve = ("serve", "--nats", nats_server.url, "--port", "0", "--admin-port", "0")
    replay = ("--replay", str(RECORDING), "--speed", "100", "--nats", nats_server.url)
    with Program("mdstream.cli", *serve, temporary=tmp_path) as gateway:
        url = gateway.until_error(r"serving clients at (ws://\S+),")[1]
        with Program("mdstream.cli", "feed", "binance", *replay, temporary=tmp_path) as handler:
            run(scenario(url), deadline_s=60, debug=False)
            assert handler.end() == 0, handler.errors
        assert handler.said == f"{INSTRUMENT}: {1 + DIFFS} book updates, {TRADES} trades, 0 refused"
        assert gateway.end(signal.SIGTERM) == 0
        assert "Traceback" not in gateway.errors
    assert all(shown.values())
    figures = ", ".join(f"{count} in {name}" for name, count in shown.items())
    report(
        f"Binance at a hundred times its speed, by separate processes: {figures} of {DIFFS} numbers shown, all right"
    )
