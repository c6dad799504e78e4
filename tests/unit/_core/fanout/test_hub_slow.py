"""Sinks that do not take all: marked, never queued to, brought up to date when they read again."""

from __future__ import annotations

import pytest

from support.fanout import FORMATS, JSON


def blocked_client(world, *topics, format=JSON):
    """A client whose sink is full as soon as it has its snapshots."""
    client = world.client(format)
    subs = [client.subscribe(topic) for topic in topics]
    client.sink.drain(room=1)
    world.hub.send(client.sink, b'{"type":"pong"}' if format == JSON else b"\x81\xa4type\xa4pong")
    client.read()
    assert client.sink.blocked
    return client, *subs


@FORMATS
@pytest.mark.parametrize(("depth", "group"), [(0, 1), (1, 1), (2, 1), (0, 5)])
def test_a_slow_sink_gets_nothing_and_then_one_message(world, format, depth, group):
    topic = world.topic(depth=depth, group=group)
    client, sub = blocked_client(world, topic, format=format)
    other = world.client(format)
    fast = other.subscribe(topic)
    for lots in range(1, 50):
        world.publish(world.feed.update({100: lots, 99: lots % 3}, {101: lots}))
    assert client.sink.take() == [] and world.hub.stats()["slow_sinks"] == 1
    client.sink.drain()
    client.read()
    other.read()
    assert len(sub.messages) == 2 and not client.sink.blocked
    assert (sub.bids, sub.asks, sub.seq) == (fast.bids, fast.asks, fast.seq)
    world.publish(world.feed.update({100: 999}))
    client.read()
    assert (sub.bids, sub.asks) == world.feed.view(depth, group)
    stats = world.hub.stats()
    assert stats["slow_sinks"] == 0 and stats["conflated"] > 40


def test_a_slow_sink_that_missed_nothing_gets_nothing(world):
    client, sub = blocked_client(world, world.topic())
    client.sink.drain()
    client.read()
    assert len(sub.messages) == 1


def test_a_slow_sink_far_behind_gets_a_snapshot(make_world):
    world = make_world(log_capacity=16)
    client, sub = blocked_client(world, world.topic())
    for lots in range(1, 100):
        world.publish(world.feed.update({100: lots}))
    client.sink.drain()
    client.read()
    assert (sub.messages[-1]["type"], sub.messages[-1]["reason"]) == ("snapshot", "slow")
    assert (sub.bids, sub.asks) == world.feed.view()


def test_a_new_epoch_reaches_a_slow_sink_as_a_snapshot(world):
    client, sub = blocked_client(world, world.topic())
    world.feed.restart()
    world.publish(world.feed.update({50: 1}))
    client.sink.drain()
    client.read()
    assert (sub.messages[-1]["reason"], sub.epoch) == ("epoch", 2)


def test_trades_wait_for_a_slow_sink_in_the_ring(make_world):
    world = make_world(trade_capacity=8)
    client, sub = blocked_client(world, world.topic("trades"))
    for _ in range(5):
        world.publish_trades(world.feed.trade())
    client.sink.drain(room=1)
    client.read()
    assert [t[0] for t in sub.trades] == [1, 2, 3, 4, 5] and client.sink.blocked
    for _ in range(20):
        world.publish_trades(world.feed.trade())
    client.sink.drain()
    client.read()
    assert sub.lost == [(6, 17)] and [t[0] for t in sub.trades[5:]] == list(range(18, 26))


def test_a_new_epoch_of_trades_tells_a_slow_sink_what_it_lost(world):
    client, sub = blocked_client(world, world.topic("trades"))
    for _ in range(3):
        world.publish_trades(world.feed.trade())
    world.feed.restart()
    world.publish_trades(world.feed.trade())
    client.sink.drain()
    client.read()
    assert sub.lost == [(1, 3)] and (sub.epoch, sub.seq) == (2, 1)


def test_the_newest_ticker_for_a_slow_sink(world):
    client, sub = blocked_client(world, world.topic("ticker"))
    for lots in range(10, 20):
        world.publish(world.feed.update({100: lots}))
    client.sink.drain()
    client.read()
    assert len(sub.messages) == 2 and sub.ticker["bid"] == (100, 19)


def large_book(world):
    """A new epoch of a book whose snapshot alone fills what is written at a time."""
    world.feed.restart()
    world.publish(world.feed.update(dict.fromkeys(range(1, 90), 1), dict.fromkeys(range(104, 9000), 1)))


def test_catching_up_stops_where_the_sink_is_full_again_and_goes_on_later(world):
    topics = [world.topic(group=group) for group in (1, 2, 3, 4)]
    client, *subs = blocked_client(world, *topics)
    large_book(world)
    client.sink.drain(room=1)
    client.read()
    behind = [sub for sub in subs if sub.epoch == 1]
    assert 0 < len(behind) < 4 and client.sink.blocked
    client.sink.drain()
    client.read()
    assert all((sub.bids, sub.asks) == world.feed.view(0, sub.topic.group) for sub in subs)


def test_every_subscription_of_a_slow_sink_has_its_turn(world):
    topics = [world.topic(group=group) for group in (1, 2, 3, 4)]
    client, *subs = blocked_client(world, *topics)
    for _ in subs:
        large_book(world)
        client.sink.drain(room=1)
        client.read()
        assert client.sink.blocked
    assert all(sub.epoch > 1 for sub in subs)


def test_a_sink_that_reads_but_never_catches_up_is_closed(make_world):
    world = make_world(slow_limit_us=1_000_000)
    client, *_ = blocked_client(world, *(world.topic(group=group) for group in (1, 2, 3, 4)))
    for _ in range(3):
        large_book(world)
        client.sink.drain(room=1)
        world.after(400)
    assert client.sink.close_code == 4408


def test_recover_and_subscribe_of_a_slow_sink_wait_too(world):
    client, sub = blocked_client(world, world.topic())
    world.publish(world.feed.update({100: 1}))
    client.recover(sub.topic, 0)
    late = client.subscribe(world.topic(depth=5))
    assert client.read() == [] and len(sub.messages) == 1 and late.messages == []
    client.sink.drain()
    client.read()
    assert (sub.messages[-1]["type"], late.messages[-1]["reason"]) == ("snapshot", "subscribe")
    assert (sub.bids, sub.asks) == world.feed.view()


def test_a_recover_does_not_hide_what_else_a_slow_sink_lacks(world):
    client, sub = blocked_client(world, world.topic())
    for lots in range(1, 9):
        world.publish(world.feed.update({100: lots, 90 + lots: 1}))
    world.hub.recover(client.sink, sub.topic, 7)  # but it has nothing after 1
    client.sink.drain()
    client.read()
    assert (sub.bids, sub.asks) == world.feed.view()


def test_control_messages_reach_a_slow_sink(world):
    client, sub = blocked_client(world, world.topic())
    world.hub.broadcast(sub.topic, b'{"type":"state","sub":%d}' % sub.topic.number, b"")
    assert [m["type"] for m in client.read()] == ["state"]


def test_a_slow_sink_gets_no_heartbeats(make_world):
    world = make_world(heartbeat_us=1_000_000)
    client, _ = blocked_client(world, world.topic())
    world.after(3000)
    assert client.read() == []
    client.sink.drain()
    world.after(1000)
    client.read()
    assert len(client.heartbeats) == 1


def test_a_sink_that_stays_slow_is_closed(make_world):
    world = make_world(slow_limit_us=1_000_000)
    client, sub = blocked_client(world, world.topic())
    other = world.client()
    other.subscribe(sub.topic)
    world.after(1000)
    assert client.sink.close_code == 0
    world.after(50)
    assert client.sink.close_code == 4408 and client.sink.closed
    assert world.publish(world.feed.update({100: 1})) == 1
    assert world.hub.stats()["too_slow"] == 1 and world.hub.stats()["slow_sinks"] == 0
    client.sink.drain()
    assert client.sink.take() == []


def test_a_sink_that_reads_now_and_then_is_not_closed(make_world):
    world = make_world(slow_limit_us=1_000_000)
    client, _ = blocked_client(world, world.topic())
    for lots in range(1, 6):
        world.after(800)
        world.publish(world.feed.update({100: lots}))
        client.sink.drain(room=1)
    assert client.sink.close_code == 0


def test_leaving_while_slow(world):
    client, sub = blocked_client(world, world.topic())
    world.hub.unsubscribe(client.sink, sub.topic)
    assert not sub.topic.alive
    client.sink.drain()
    assert client.sink.take() == []
    client.sink.close()
    assert world.hub.stats()["subscriptions"] == 0
