"""Iteration is in order and bounded, counts what a slow consumer missed, and ends with the subscription."""

import asyncio
import gc

import pytest

from mdstream.client import events
from mdstream.client.events import Subscribed
from mdstream.client.protocol import Request
from mdstream.client.trades import Trades
from mdstream.errors import ConnectionLost


@pytest.fixture
def trades(link):
    trades = Trades(Request("trades", "SIM:BTC-USD"), link)
    trades.accept(Subscribed(8, "trades", "SIM:BTC-USD", -2, -3), 0.0)
    return trades


def feed(trades, first, last):
    entries = [events.TradeEntry(n, 1, 100, 5, 1, n) for n in range(first, last + 1)]
    trades.take(events.Trades(8, 1, first, last, entries), 0.0)


def test_items_come_in_order_whether_they_wait_or_are_waited_for(run, trades):
    async def scenario():
        stream = trades.updates()
        feed(trades, 1, 2)
        first = [(await anext(stream)).seq for _ in range(2)]
        asyncio.get_running_loop().call_soon(feed, trades, 3, 3)
        return [*first, (await anext(stream)).seq]

    assert run(scenario()) == [1, 2, 3]


def test_a_slow_consumer_is_told_what_it_missed(run, trades):
    async def scenario():
        stream = trades.updates(buffer=2)
        feed(trades, 1, 5)
        return [(trade.seq, trade.skipped) for trade in [await anext(stream), await anext(stream)]]

    assert run(scenario()) == [(4, 3), (5, 0)]


def test_it_stops_with_the_subscription_after_the_last_items(run, trades):
    async def scenario():
        stream = trades.updates()
        feed(trades, 1, 2)
        trades.end(None)
        return [trade.seq async for trade in stream]

    assert run(scenario()) == [1, 2]


def test_it_raises_what_ended_the_subscription(run, trades):
    async def scenario():
        stream = trades.updates()
        asyncio.get_running_loop().call_soon(trades.end, ConnectionLost("gone", code=4403))
        await anext(stream)

    with pytest.raises(ConnectionLost, match="gone"):
        run(scenario())


def test_closing_the_last_user_of_a_subscription_ends_the_waiting(run, trades, link):
    async def scenario():
        trades.users = 2
        waiting = asyncio.ensure_future(anext(trades.updates()))
        await asyncio.sleep(0)
        await trades.close()
        assert link.unsubscribed == []
        await trades.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        return link.unsubscribed

    assert run(scenario()) == [trades]


def test_two_iterations_get_the_same_items(run, trades):
    async def scenario():
        streams = trades.updates(), trades.updates()
        feed(trades, 1, 1)
        return [(await anext(stream)).seq for stream in streams]

    assert run(scenario()) == [1, 1]


def test_two_tasks_on_one_iteration_are_refused(run, trades):
    async def scenario():
        stream = trades.updates()
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="of its own"):
                await anext(stream)
        finally:
            first.cancel()

    run(scenario())


def test_an_iteration_ended_by_break_is_forgotten(run, trades):
    async def scenario():
        async def one():
            stream = trades.updates()
            feed(trades, 1, 1)
            async for trade in stream:
                return trade.seq

        assert await one() == 1
        gc.collect()
        return len(trades._trade_observers), len(trades._end_observers)

    assert run(scenario()) == (0, 0)


def test_a_buffer_must_hold_something(trades):
    with pytest.raises(ValueError, match="buffer was 0"):
        trades.updates(buffer=0)
