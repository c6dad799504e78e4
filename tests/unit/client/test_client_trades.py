"""Each trade comes once, in order. Missing trades are recovered, or reported as lost."""

from decimal import Decimal

import pytest

from mdstream.client import events
from mdstream.client.events import Lost, Subscribed
from mdstream.client.protocol import Request
from mdstream.client.states import SubscriptionState
from mdstream.client.trades import Trades

LIVE, RECOVERING = SubscriptionState.LIVE, SubscriptionState.RECOVERING


def batch(first, last, epoch=1):
    entries = [events.TradeEntry(n, 1000 + n, 100 + n, 5, n % 3, f"t{n}") for n in range(first, last + 1)]
    return events.Trades(8, epoch, first, last, entries)


@pytest.fixture
def trades(link):
    trades = Trades(Request("trades", "SIM:BTC-USD"), link)
    trades.requested()
    trades.accept(Subscribed(8, "trades", "SIM:BTC-USD", -2, -3), 0.0)
    return trades


@pytest.fixture
def seen(trades):
    seen = []
    trades.on_trade(lambda trade: seen.append(trade.seq))
    return seen


def test_an_accepted_subscription_is_live(trades):
    assert (trades.state, trades.seq) == (LIVE, None)


def test_the_first_trades_set_the_place(trades, seen, link):
    trades.take(batch(40, 42), 0.0)

    assert (seen, trades.epoch, trades.seq, trades.resume, link.asked) == ([40, 41, 42], 1, 42, (1, 42), [])


def test_a_trade_has_all_its_fields(trades):
    given = []
    trades.on_trade(given.append)

    trades.take(batch(40, 42), 0.0)

    assert [trade.side for trade in given] == ["buy", "sell", None]
    assert (given[0].price, given[0].size, given[0].ts_us, given[0].trade_id) == (
        Decimal("1.40"),
        Decimal("0.005"),
        1040,
        "t40",
    )


def test_a_gap_is_recovered_and_later_trades_follow(trades, seen, link):
    trades.take(batch(1, 2), 0.0)
    trades.take(batch(5, 6), 0.0)
    trades.take(batch(7, 7), 0.0)
    assert (seen, link.asked, trades.state, trades.resume) == ([1, 2], [3], RECOVERING, (1, 2))

    trades.take(batch(3, 6), 0.0)

    assert (seen, trades.state) == ([1, 2, 3, 4, 5, 6, 7], LIVE)


def test_each_trade_comes_once(trades, seen):
    trades.take(batch(1, 4), 0.0)
    trades.take(batch(2, 6), 0.0)
    trades.take(batch(1, 3), 0.0)

    assert seen == [1, 2, 3, 4, 5, 6]


def test_lost_without_a_recover_is_recovered(trades, seen, link):
    trades.take(batch(1, 2), 0.0)
    trades.take(Lost(8, 3, 9), 0.0)
    trades.take(batch(10, 10), 0.0)
    assert link.asked == [3]

    trades.take(batch(3, 10), 0.0)

    assert (seen, trades.lost, trades.state) == (list(range(1, 11)), 0, LIVE)


def test_lost_as_the_answer_is_reported_and_the_stream_continues(trades, seen, link):
    lost, skipped = [], []
    trades.on_lost(lambda first, last: lost.append((first, last)))
    trades.on_trade(lambda trade: skipped.append(trade.skipped))
    trades.take(batch(1, 2), 0.0)
    trades.take(batch(6, 6), 0.0)

    trades.take(Lost(8, 3, 4), 0.0)
    assert trades.state is RECOVERING, "5 is still missing"
    trades.take(batch(5, 6), 0.0)

    assert (lost, trades.lost, seen, skipped) == ([(3, 4)], 2, [1, 2, 5, 6], [0, 0, 2, 0])
    assert (trades.state, link.asked) == (LIVE, [3, 5])


def test_lost_twice_sends_one_recover(trades, link):
    trades.take(batch(1, 2), 0.0)
    trades.take(Lost(8, 3, 9), 0.0)

    trades.take(Lost(8, 10, 12), 0.0)
    trades.take(Lost(8, 3, 12), 0.0)

    assert (link.asked, trades.lost, trades.seq, trades.state) == ([3], 10, 12, LIVE)


def test_trades_lost_before_the_subscription_do_not_count(trades, seen, link):
    trades.take(Lost(8, 1, 271), 0.0)
    trades.take(batch(272, 273), 0.0)

    assert (seen, trades.lost, link.asked) == ([272, 273], 0, [])


def test_an_empty_answer_ends_the_recover(trades, link):
    trades.take(batch(1, 9), 0.0)
    trades.take_heartbeat(12, 0.0)
    assert (trades.state, link.asked) == (RECOVERING, [10])

    trades.take(events.Trades(8, 1, 10, 9, []), 0.0)

    assert (trades.state, trades.seq, trades.lost) == (LIVE, 9, 0)


def test_the_start_of_a_stream_can_be_resumed_too(trades, seen, link):
    trades.take(events.Trades(8, 1, 41, 40, []), 0.0)

    trades.take(batch(42, 42), 0.0)

    assert (seen, link.asked, trades.resume) == ([], [41], (1, 40))


def test_lost_before_the_first_trade_is_recovered(trades, seen, link):
    trades.take(Lost(8, 3, 9), 0.0)
    assert link.asked == [3]

    trades.take(batch(3, 9), 0.0)

    assert (seen, trades.state) == (list(range(3, 10)), LIVE)


def test_a_heartbeat_ahead_shows_a_lost_tail(trades, link):
    trades.take(batch(1, 2), 0.0)

    trades.take_heartbeat(2, 0.0)
    assert link.asked == []
    trades.take_heartbeat(3, 0.0)

    assert (link.asked, trades.state) == ([3], RECOVERING)


def test_heartbeats_before_the_first_trade_show_a_loss_too(trades, seen, link):
    trades.take_heartbeat(0, 0.0)
    trades.take_heartbeat(40, 0.0)
    assert link.asked == []

    trades.take(batch(43, 43), 0.0)
    assert link.asked == [41]
    trades.take(batch(41, 43), 0.0)

    assert seen == [41, 42, 43]


def test_a_heartbeat_of_an_older_epoch_does_not_hide_the_new_one(trades, seen, link):
    trades.take_heartbeat(40, 0.0)

    trades.take(batch(1, 2, epoch=7), 0.0)

    assert (seen, link.asked) == ([1, 2], [])


def test_a_new_epoch_counts_from_one_again(trades, seen, link):
    trades.take(batch(1, 9), 0.0)
    trades.take(batch(12, 12), 0.0)

    trades.take(batch(1, 2, epoch=2), 0.0)
    assert (seen[-2:], trades.epoch, trades.state, link.asked) == ([1, 2], 2, LIVE, [10])
    trades.take(batch(10, 12), 0.0)
    assert seen[-1] == 2, "trades of an older writer are dropped"
    trades.take(batch(2, 2, epoch=3), 0.0)

    assert (link.asked[-1], trades.epoch) == (1, 3), "number 1 of the new epoch is missing"


def test_after_a_reconnect_it_continues_without_a_gap(trades, seen, link):
    trades.take(batch(1, 2), 0.0)
    trades.detach("cut")
    assert trades.state is SubscriptionState.DISCONNECTED
    trades.requested()
    trades.accept(Subscribed(3, "trades", "SIM:BTC-USD", -2, -3, resumed=True), 0.0)

    trades.take(batch(3, 5), 0.0)

    assert (seen, link.asked) == ([1, 2, 3, 4, 5], [])


def test_a_reconnect_that_was_not_resumed_shows_its_gap(trades, link):
    trades.take(batch(1, 2), 0.0)
    trades.detach("cut")
    trades.requested()
    trades.accept(Subscribed(3, "trades", "SIM:BTC-USD", -2, -3, resumed=False), 0.0)

    trades.take(batch(9, 9), 0.0)

    assert link.asked == [3]


def test_an_older_epoch_counts_right_after_subscribed_alone(trades, seen):
    trades.take(batch(1, 2, epoch=9), 0.0)
    trades.take(batch(3, 4, epoch=5), 0.0)
    assert (seen, trades.epoch) == ([1, 2], 9)
    trades.detach("cut")
    trades.requested()

    trades.accept(Subscribed(3, "trades", "SIM:BTC-USD", -2, -3), 0.0)
    trades.take(batch(70, 71, epoch=5), 0.0)

    assert (seen, trades.epoch, trades.resume) == ([1, 2, 70, 71], 5, (5, 71))
