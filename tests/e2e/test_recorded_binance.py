"""A recorded morning of Binance's BTCUSDT: the handler's book equals the venue's own best bid and ask after every diff."""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal

from mdstream.feed import InstrumentWriter
from mdstream.feeds._actions import Apply, Load, Lost
from mdstream.feeds.binance.events import BookTicker, DepthDiff, DepthSnapshot, Trade
from mdstream.feeds.binance.recording import read_recording, summarize
from mdstream.feeds.binance.sync import DepthSync
from mdstream.model import InstrumentId, Ref
from support.pipeline import DATA, needs

RECORDING = DATA / "binance_spot_btcusdt" / "btcusdt_20240808.gz"

pytestmark = needs(RECORDING)

Quote = tuple[Decimal, Decimal, Decimal, Decimal]


def quotes() -> tuple[list[int], list[Quote]]:
    """The venue's own best prices and sizes, by its update number."""
    ids, values = [], []
    for recorded in read_recording(RECORDING):
        event = recorded.event
        if isinstance(event, BookTicker):
            ids.append(event.update_id)
            texts = (event.bid_price, event.bid_size, event.ask_price, event.ask_size)
            values.append(tuple(map(Decimal, texts)))
    return ids, values  # type: ignore[return-value]


def best(writer: InstrumentWriter) -> Quote:
    bid, ask = writer.book.best()
    assert bid is not None and ask is not None
    price, size = Decimal(1).scaleb(writer.ref.price_exp), Decimal(1).scaleb(writer.ref.size_exp)
    return bid[0] * price, bid[1] * size, ask[0] * price, ask[1] * size


def test_after_each_diff_the_best_bid_and_ask_are_the_venues() -> None:
    summary = summarize(RECORDING)
    assert (summary.symbols, summary.price_exp) == ({"BTCUSDT"}, -2)
    ids, expected = quotes()
    writer = InstrumentWriter(
        InstrumentId("BINANCE", "BTCUSDT"), Ref(summary.price_exp, summary.size_exp), epoch=1
    )
    sync = DepthSync()
    equal = 0
    for recorded in read_recording(RECORDING):
        event = recorded.event
        if isinstance(event, DepthSnapshot):
            steps = sync.on_snapshot(event)
        elif isinstance(event, DepthDiff):
            steps = sync.on_diff(event)
        else:
            continue
        for step in steps:
            assert not isinstance(step, Lost)
            if isinstance(step, Load):
                writer.replace(step.bids, step.asks, step.ts_us)
            elif isinstance(step, Apply):
                writer.update(step.bids, step.asks, step.ts_us)
                equal += best(writer) == expected[bisect_right(ids, step.venue_seq) - 1]
    assert equal == 3_449
    assert writer.book.seq == 1 + 3_449, "the snapshot is the first update, each diff one more"


def test_every_trade_can_be_published() -> None:
    summary = summarize(RECORDING)
    writer = InstrumentWriter(
        InstrumentId("BINANCE", "BTCUSDT"), Ref(summary.price_exp, summary.size_exp), epoch=1
    )
    for recorded in read_recording(RECORDING):
        event = recorded.event
        if isinstance(event, Trade):
            writer.trade(event.price, event.size, event.side, event.trade_id, event.ts_us)
    assert writer.trade_seq == 9_757
