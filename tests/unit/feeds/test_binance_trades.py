"""A symbol's trades in order: what is missing, what comes twice, and ids that begin again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mdstream.feeds.binance.events import Trade
from mdstream.feeds.binance.trades import MOST_FETCHED, MOST_HELD, LostTrades, TradeAction, TradeSequence

NOW = 1_700_000_000_000


def trade(trade_id: int, *, ts: int = NOW, price: str = "1.5") -> Trade:
    return Trade("X", ts, trade_id, price, "1", True)


def trades(*ids: int) -> list[Trade]:
    return [trade(number) for number in ids]


def told(actions: list[TradeAction]) -> list[int | str]:
    return [a.trade_id if isinstance(a, Trade) else f"{a.count} lost" for a in actions]


def after(*ids: int) -> TradeSequence:
    sequence = TradeSequence()
    for number in ids:
        sequence.on_trade(trade(number))
    return sequence


def test_trades_that_follow_one_another_pass() -> None:
    sequence = TradeSequence()
    assert [told(sequence.on_trade(trade(number))) for number in (7, 8, 9)] == [[7], [8], [9]]
    assert sequence.missing is None


def test_later_trades_wait_for_those_that_are_missing() -> None:
    sequence = after(7)
    assert sequence.on_trade(trade(10)) == []
    assert sequence.missing == range(8, 10)
    assert sequence.on_trade(trade(11)) == []
    assert told(sequence.on_fetched(trades(8, 9, 10))) == [8, 9, 10, 11]
    assert sequence.missing is None
    assert told(sequence.on_trade(trade(12))) == [12]


def test_missing_trades_may_come_in_parts() -> None:
    sequence = after(7)
    sequence.on_trade(trade(12))
    assert sequence.on_fetched([]) == []
    assert told(sequence.on_fetched(trades(8, 9))) == [8, 9]
    assert sequence.missing == range(10, 12)
    assert told(sequence.on_fetched(trades(10, 11))) == [10, 11, 12]


def test_an_id_that_the_venue_never_gave_is_not_lost() -> None:
    sequence = after(7)
    sequence.on_trade(trade(11))
    assert told(sequence.on_fetched(trades(9, 11, 12))) == [9, 11]
    sequence.on_trade(trade(20))
    assert told(sequence.on_fetched(trades(25))) == [20]


def test_what_cannot_be_fetched_is_told_lost() -> None:
    sequence = after(7)
    sequence.on_trade(trade(10))
    sequence.on_trade(trade(11))
    assert told(sequence.give_up()) == ["2 lost", 10, 11]
    assert sequence.give_up() == []


def test_a_second_hole_behind_the_first_is_found() -> None:
    sequence = after(7)
    for number in (9, 10, 15, 16):
        sequence.on_trade(trade(number))
    assert told(sequence.on_fetched(trades(8, 9))) == [8, 9, 10]
    assert sequence.missing == range(11, 15)
    assert told(sequence.give_up()) == ["4 lost", 15, 16]


def test_of_very_many_only_the_newest_are_asked_for() -> None:
    sequence = after(7)
    assert told(sequence.on_trade(trade(8 + MOST_FETCHED + 3))) == ["3 lost"]
    assert sequence.missing == range(11, 11 + MOST_FETCHED)


def test_what_waits_is_bounded() -> None:
    sequence = after(7)
    actions: list[TradeAction] = []
    for number in range(9, 9 + MOST_HELD + 1):
        actions += sequence.on_trade(trade(number))
    assert actions[0] == LostTrades(1)
    assert len(actions) == MOST_HELD + 2


def test_repetitions_are_dropped() -> None:
    sequence = after(7, 8, 9)
    assert sequence.on_trade(trade(8)) == sequence.on_trade(trade(9)) == []
    assert sequence.on_trade(trade(3, ts=NOW - 1)) == []


def test_ids_that_begin_again_are_followed() -> None:
    sequence = after(5_007)
    assert told(sequence.on_trade(trade(1, ts=NOW + 5))) == [1]
    assert told(sequence.on_trade(trade(2, ts=NOW + 5))) == [2]


def test_ids_that_begin_again_with_a_clock_that_went_back_are_followed_in_the_end() -> None:
    sequence = after(5_007)
    shown = [number for number in range(1, 200) if sequence.on_trade(trade(number, ts=NOW - 9))]
    assert shown == list(range(101, 200))


@given(st.lists(st.integers(0, 40), max_size=60), st.booleans())
def test_each_trade_is_shown_once_in_order_or_counted_as_lost(order: list[int], fetched: bool) -> None:
    sequence, shown, at = TradeSequence(), [], 0
    for step in order:
        at += step % 4
        actions = sequence.on_trade(trade(at, ts=NOW + at))
        if sequence.missing is not None:
            ids = sequence.missing
            actions += (
                sequence.on_fetched([trade(n, ts=NOW + n) for n in ids]) if fetched else sequence.give_up()
            )
        shown += actions
    count = sum(1 if isinstance(action, Trade) else action.count for action in shown)
    ids = [action.trade_id for action in shown if isinstance(action, Trade)]
    assert ids == sorted(set(ids))
    assert not ids or count == ids[-1] - ids[0] + 1
