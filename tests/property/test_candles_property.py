"""Candles of generated trades are those that follow from all trades at once, whatever came late, was lost, or was cut by a restart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mdstream._core.codec.feed_decoder import TradeValue
from mdstream.bus.candles import Stats, decode_candles, decode_stats, encode_candles, encode_stats, merge
from mdstream.candle import SPANS, Candle
from mdstream.candles.fold import MINUTES, Fold
from mdstream.model import MAX_NUMBER
from support.candles import Traded, assert_equal, recompute_day, shown_day

NAMES = list(SPANS)
BASE_US = 1_764_460_800_000_000
SCALES = ((-2, -8), (-2, -8), (-3, -8), (0, -2), (-2, 0))
PRICE = st.integers(-1_000, 1_000_000)
SIZE = st.one_of(st.integers(1, 1_000_000), st.sampled_from([MAX_NUMBER, MAX_NUMBER // 2]))


@st.composite
def markets(draw: st.DrawFn) -> list[Traded]:
    """Trades in the order of their numbers: some are late, some are missing, some begin an epoch in another scale."""
    trades, ts_us, epoch, seq, scale = [], BASE_US, 7, draw(st.integers(0, 3)), SCALES[0]
    for _ in range(draw(st.integers(1, 60))):
        step_s = draw(st.sampled_from([0.01, 0.3, 1, 20, 61, 400, 5_000, 40_000]))
        ts_us += int(draw(st.integers(0, 100)) / 100 * step_s * 1_000_000)
        if draw(st.integers(0, 15)) == 0:
            epoch, seq, scale = epoch + 1, draw(st.integers(0, 1)), draw(st.sampled_from(SCALES))
        seq += 2 if draw(st.integers(0, 20)) == 0 else 1
        late_us = draw(st.sampled_from([0, 0, 0, 0, 500_000, 90_000_000, 7_200_000_000]))
        trades.append(Traded(epoch, seq, max(ts_us - late_us, BASE_US), draw(PRICE), draw(SIZE), scale))
    return trades


class Shelf:
    """What MD_CANDLES would hold: statistics, and candles by span; all goes through bytes."""

    def __init__(self) -> None:
        self.stats: Stats | None = None
        self.candles: list[dict[int, Candle]] = [{} for _ in NAMES]
        self.stored: list[list[tuple[int, int]]] = [[] for _ in NAMES]

    def store(self, stats: Stats) -> None:
        self.stats = decode_stats(encode_stats(stats))
        for span, candle in self.stats.changed:
            merge(self.candles[span], decode_candles(encode_candles([candle])))
            self.stored[span].append((candle.start_s, candle.rev))

    def begin(self) -> Fold:
        return Fold(self.stats, self.candles[MINUTES].values())

    def shown(self, span: int) -> dict[int, Candle]:
        assert self.stats is not None
        newest = self.stats.newest[span]
        return self.candles[span] | ({} if newest is None else {newest.start_s: newest})


def write(fold: Fold, shelf: Shelf, batch: list[Traded]) -> None:
    """Stores trades of one scale as the writer does."""
    values = [TradeValue(each.epoch, each.seq, each.ts_us, each.price, each.size, 1, 0) for each in batch]
    while values:
        for place in fold.missing(values):
            fold.use(place, shelf.candles[place.span].get(place.start_s))
        values = values[fold.apply(values, batch[0].scale, 3) :]
        shelf.store(fold.take(batch[-1].ts_us))


def batches(trades: list[Traded], sizes: list[int]) -> list[list[Traded]]:
    found: list[list[Traded]] = []
    for trade in trades:
        size = sizes[len(found) % len(sizes)]
        if not found or len(found[-1]) >= size or found[-1][-1].scale != trade.scale:
            found.append([])
        found[-1].append(trade)
    return found


@settings(max_examples=50)
@given(markets(), st.lists(st.integers(1, 12), min_size=1, max_size=5), st.lists(st.booleans(), max_size=60))
def test_every_candle_is_what_follows_from_the_trades(
    trades: list[Traded], sizes: list[int], restarts: list[bool]
) -> None:
    shelf = Shelf()
    fold = shelf.begin()
    for number, batch in enumerate(batches(trades, sizes)):
        if number < len(restarts) and restarts[number]:
            fold = shelf.begin()
        write(fold, shelf, batch)
    assert shelf.stats is not None
    for span, name in enumerate(NAMES):
        assert_equal(shelf.shown(span), trades, name)
        assert len(set(shelf.stored[span])) == len(shelf.stored[span])  # no revision twice
    day = shelf.stats.summary
    if day.volume < MAX_NUMBER:
        assert shown_day(day) == recompute_day(trades, day.ts_us)
