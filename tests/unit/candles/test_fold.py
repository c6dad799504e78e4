"""Candles from trades, without a bus: late trades, gaps, epochs, scales, and what goes on after a restart."""

from __future__ import annotations

from mdstream._core.codec.feed_decoder import TradeValue
from mdstream.bus.candles import Stats
from mdstream.candle import CLOSED, INCOMPLETE, SATURATED, SPANS, Candle
from mdstream.candles.fold import Fold, Place
from mdstream.model import MAX_NUMBER

MINUTE = list(SPANS).index("1m")
SCALE = (-2, -8)
BASE_S = 1_764_460_800  # 2025-11-30 00:00 UTC, the start of every span
US = 1_000_000


def trade(seq: int, at_s: float, price: int = 100, size: int = 1, epoch: int = 5) -> TradeValue:
    return TradeValue(epoch, seq, int((BASE_S + at_s) * US), price, size, 1, seq)


def fold(*trades: TradeValue, scale: tuple[int, int] = SCALE, into: Fold | None = None) -> Fold:
    into = into or Fold()
    assert into.apply(trades, scale, 1_000) == len(trades)
    return into


def newest(stats: Stats, span: str = "1m") -> Candle:
    found = stats.newest[list(SPANS).index(span)]
    assert found is not None
    return found


def changed(stats: Stats, span: str = "1m") -> dict[int, Candle]:
    return {
        candle.start_s - BASE_S: candle for index, candle in stats.changed if index == list(SPANS).index(span)
    }


def test_a_candle_has_the_first_the_greatest_the_least_and_the_last_price() -> None:
    stats = fold(trade(1, 0, 10, 2), trade(2, 1, 30, 3), trade(3, 2, 5, 4), trade(4, 59, 7, 5)).take(0)
    assert newest(stats) == Candle(BASE_S, 1, 10, 30, 5, 7, 14, 4, 5, 1, 4, *SCALE, INCOMPLETE)
    assert (stats.epoch, stats.seq, stats.traded_us) == (5, 4, (BASE_S + 59) * US)


def test_the_next_trade_closes_a_candle() -> None:
    folded = fold(trade(1, 0))
    folded.take(0)
    stats = fold(trade(2, 60), into=folded).take(0)
    assert changed(stats)[0].flags == CLOSED | INCOMPLETE and changed(stats)[0].rev == 2
    assert newest(stats).start_s == BASE_S + 60 and newest(stats).flags == 0


def test_time_closes_a_candle() -> None:
    folded = fold(trade(1, 0))
    folded.take(0)
    folded.close_until(BASE_S + 60)
    stats = folded.take(0)
    assert changed(stats)[0].is_closed and newest(stats).is_closed
    assert not newest(stats, "5m").is_closed


def test_a_late_trade_corrects_a_closed_candle() -> None:
    folded = fold(trade(1, 0), trade(2, 60))
    folded.take(0)
    stats = fold(trade(3, 30, 500), into=folded).take(0)
    assert changed(stats)[0][:8] == (BASE_S, 2, 100, 500, 100, 500, 2, 2)
    assert newest(stats).start_s == BASE_S + 60 and newest(stats).rev == 1


def test_a_late_trade_may_need_a_candle_that_is_not_at_hand() -> None:
    folded = fold(*(trade(seq, 60 * seq) for seq in range(1, 20)))
    folded.take(0)
    late = [trade(20, 61)]
    assert Place(MINUTE, BASE_S + 60) in folded.missing(late)
    for place in folded.missing(late):
        folded.use(place, Candle(place.start_s, 7, 1, 1, 1, 1, 1, 1, 5, 1, 1, *SCALE, CLOSED))
    stats = fold(*late, into=folded).take(0)
    assert changed(stats)[60][:8] == (BASE_S + 60, 8, 1, 100, 1, 100, 2, 2)


def test_a_candle_that_is_not_stored_any_more_is_incomplete() -> None:
    folded = fold(*(trade(seq, 60 * seq) for seq in range(1, 20)))
    folded.take(0)
    late = [trade(20, 61)]
    for place in folded.missing(late):
        folded.use(place, None, is_forgotten=True)
    assert changed(fold(*late, into=folded).take(0))[60].flags == CLOSED | INCOMPLETE


def test_a_hole_in_the_numbers_is_flagged_on_both_sides() -> None:
    folded = fold(trade(1, 0), trade(2, 60), trade(3, 120))
    folded.take(0)
    stats = fold(trade(5, 180), trade(6, 240), into=folded).take(0)
    assert {start: candle.is_incomplete for start, candle in changed(stats).items()} == {120: True, 180: True}
    assert not newest(stats).is_incomplete


def test_a_new_epoch_goes_on_without_a_hole_if_it_begins_at_one() -> None:
    folded = fold(trade(1, 0), trade(2, 60), trade(1, 61, epoch=6))
    stats = folded.take(0)
    assert newest(stats)[8:11] == (6, 1, 1) and not newest(stats).is_incomplete
    assert newest(fold(trade(2, 120, epoch=9), into=folded).take(0)).is_incomplete


def test_a_lost_tail_is_flagged() -> None:
    folded = fold(trade(1, 0), trade(2, 60))
    folded.lose_tail()
    assert newest(fold(trade(1, 61, epoch=6), into=folded).take(0)).is_incomplete


def test_known_trades_are_passed_over() -> None:
    folded = fold(trade(1, 0), trade(2, 1))
    before = folded.take(0)
    after = fold(trade(1, 0), trade(2, 1), into=folded).take(0)
    assert after == before._replace(changed=())


def test_a_rescaled_candle_has_the_finer_scale() -> None:
    folded = fold(trade(1, 0, 100, 1))
    fold(trade(1, 1, 1_005, 3, epoch=6), scale=(-3, -6), into=folded)
    stats = folded.take(0)
    assert newest(stats)[2:8] == (1_000, 1_005, 1_000, 1_005, 301, 2)
    assert newest(stats)[11:13] == (-3, -8)
    assert newest(fold(trade(2, 60, 7, 1, epoch=6), scale=(-3, -6), into=folded).take(0))[11:13] == (-3, -6)


def test_a_price_that_no_number_holds_in_the_finer_scale_begins_the_candle_again() -> None:
    folded = fold(trade(1, 0, MAX_NUMBER))
    fold(trade(1, 1, 1_005, epoch=6), scale=(-3, -8), into=folded)
    candle = newest(folded.take(0))
    assert candle[2:8] == (1_005, 1_005, 1_005, 1_005, 1, 1) and candle.is_incomplete


def test_a_volume_that_no_number_holds_is_told() -> None:
    folded = fold(trade(1, 0, size=MAX_NUMBER), trade(2, 1, size=1))
    stats = folded.take(BASE_S * US)
    assert newest(stats).volume == MAX_NUMBER and newest(stats).flags & SATURATED
    assert newest(stats, "1s").flags & SATURATED == 0
    assert stats.summary.volume == MAX_NUMBER and stats.summary.flags & SATURATED


def test_it_stops_once_enough_candles_have_closed() -> None:
    trades = [trade(seq, seq) for seq in range(1, 100)]
    folded = Fold()
    taken = folded.apply(trades, SCALE, 10)
    assert taken < len(trades) and len(folded.take(0).changed) >= 10
    assert folded.apply(trades, SCALE, 1_000) == len(trades) and folded.seq == 99


def test_it_goes_on_from_what_was_stored() -> None:
    trades = [trade(seq, seq * 7, 100 + seq % 13) for seq in range(1, 200)]
    whole = fold(*trades).take(BASE_S * US)
    first = fold(*trades[:100]).take(BASE_S * US)
    minutes = {candle.start_s: candle for index, candle in first.changed if index == MINUTE}
    second = fold(*trades[100:], into=Fold(first, minutes.values())).take(BASE_S * US)
    assert second.summary == whole.summary
    for one, other in zip(second.newest, whole.newest, strict=True):
        assert one is not None and other is not None and one._replace(rev=1) == other._replace(rev=1)


def test_the_day_rolls() -> None:
    folded = fold(trade(1, 0, 10, 2), trade(2, 60, 30, 3), trade(3, 23 * 3600, 20, 5))
    at_us = (BASE_S + 23 * 3600 + 30) * US
    day = folded.take(at_us).summary
    assert day[1:7] == (10, 30, 10, 10, 3, BASE_S * US)
    day = folded.take((BASE_S + 86_400) * US).summary
    assert day[1:7] == (30, 30, 20, 8, 2, (BASE_S + 60) * US)
    assert folded.take((BASE_S + 3 * 86_400) * US).summary[1:7] == (None, None, None, 0, 0, 0)
