from decimal import Decimal

import pytest

from mdstream.client import events
from mdstream.client.events import Subscribed
from mdstream.client.protocol import Request
from mdstream.client.states import SubscriptionState
from mdstream.client.ticker import Ticker


@pytest.fixture
def ticker(link):
    ticker = Ticker(Request("ticker", "SIM:BTC-USD"), link)
    ticker.requested()
    ticker.accept(Subscribed(9, "ticker", "SIM:BTC-USD", -2, -3), 0.0)
    return ticker


def test_before_the_first_message_there_is_nothing(ticker):
    assert (ticker.state, ticker.current, ticker.bid, ticker.ask, ticker.last) == (
        SubscriptionState.LIVE,
        None,
        None,
        None,
        None,
    )


def test_the_newest_wins(ticker):
    seen = []
    ticker.on_update(seen.append)

    ticker.take(events.Ticker(9, 1, 4, 10, 100, 1, 102, 2, None, None), 0.0)
    ticker.take(events.Ticker(9, 1, 4, 11, 100, 1, None, None, 101, 3), 0.0)

    assert ticker.bid == (Decimal("1.00"), Decimal("0.001"))
    assert ticker.ask is None
    assert ticker.last == (Decimal("1.01"), Decimal("0.003"))
    assert [update.ts_us for update in seen] == [10, 11]


def test_after_a_lost_connection_it_is_old_until_the_newest_comes(ticker):
    ticker.take(events.Ticker(9, 1, 4, 10, 100, 1, 102, 2, None, None), 0.0)
    ticker.detach("cut")
    ticker.requested()

    ticker.accept(Subscribed(3, "ticker", "SIM:BTC-USD", -2, -3), 0.0)
    assert (ticker.state, ticker.bid) == (SubscriptionState.RECOVERING, (Decimal("1.00"), Decimal("0.001")))
    ticker.take(events.Ticker(3, 1, 4, 10, 100, 1, 102, 2, None, None), 0.0)

    assert ticker.state is SubscriptionState.LIVE


def test_nothing_of_another_scale_is_shown(ticker):
    ticker.take(events.Ticker(9, 1, 4, 10, 100, 1, 102, 2, None, None), 0.0)
    ticker.requested("its decimals have changed")

    ticker.accept(Subscribed(10, "ticker", "SIM:BTC-USD", -4, -3), 0.0)
    assert (ticker.state, ticker.current) == (SubscriptionState.RECOVERING, None)
    ticker.take(events.Ticker(10, 2, 1, 10, 10_000, 1, None, None, None, None), 0.0)

    assert (ticker.state, ticker.bid) == (SubscriptionState.LIVE, (Decimal("1.0000"), Decimal("0.001")))


def test_a_heartbeat_ahead_asks_for_the_newest(ticker, link):
    ticker.take(events.Ticker(9, 1, 4, 10, 100, 1, 102, 2, None, None), 0.0)

    ticker.take_heartbeat(4, 0.0)
    assert link.asked == []
    ticker.take_heartbeat(5, 0.0)
    ticker.take_heartbeat(5, 0.0)
    assert (link.asked, ticker.state) == ([0], SubscriptionState.RECOVERING)
    ticker.take(events.Ticker(9, 1, 5, 10, 100, 1, 102, 2, None, None), 0.0)

    assert ticker.state is SubscriptionState.LIVE


def test_it_resumes_at_what_it_shows(ticker):
    assert ticker.resume is None
    ticker.take(events.Ticker(9, 1, 4, 10, 100, 1, 102, 2, None, None), 0.0)
    ticker.detach("cut")

    assert ticker.resume == (1, 4)
