"""Trades, tickers, heartbeats and control messages, with sinks in memory."""

from __future__ import annotations

import msgpack
import pytest

from support.fanout import FORMATS, JSON, MSGPACK, Subscription, trade_payload


def test_trades_come_in_order_and_only_those_after_subscribing(world):
    world.publish_trades(world.feed.trade())
    clients = [world.client(format) for format in (JSON, MSGPACK)]
    subs = [client.subscribe(world.topic("trades")) for client in clients]
    world.publish_trades(*(world.feed.trade(price=100 + i, side=i % 3) for i in range(5)))
    world.publish_trades(world.feed.trade())
    for client, sub in zip(clients, subs, strict=True):
        client.read()
        assert [t[0] for t in sub.trades] == [2, 3, 4, 5, 6, 7]
        assert [(m["first"], m["last"]) for m in sub.messages] == [(2, 6), (7, 7)]


def test_trades_between_subscribe_and_catch_up_are_not_missed(world):
    client = world.client()
    topic = world.topic("trades")
    world.hub.subscribe(client.sink, topic)
    client.subs[topic.number] = sub = Subscription(topic, epoch=1)
    world.publish_trades(world.feed.trade())
    world.hub.catch_up(client.sink, topic)
    world.publish_trades(world.feed.trade())
    client.read()
    assert [t[0] for t in sub.trades] == [1, 2]


def test_nothing_is_lost_to_who_waits_for_a_log_to_be_opened(world):
    client = world.client()
    topic = world.topic("trades")
    world.hub.subscribe(client.sink, topic)
    client.subs[topic.number] = sub = Subscription(topic, epoch=0)
    world.hub.reset_trades(world.instrument, 1, 500)
    world.hub.flush(world.now)
    world.feed.trade_seq = 500
    world.publish_trades(world.feed.trade())
    world.hub.catch_up(client.sink, topic)
    world.publish_trades(world.feed.trade())
    client.read()
    assert sub.lost == [] and [t[0] for t in sub.trades] == [501, 502]


@FORMATS
def test_trades_that_left_the_ring_are_told_as_lost(make_world, format):
    world = make_world(trade_capacity=8)
    world.publish_trades(world.feed.trade())
    client = world.client(format)
    sub = client.subscribe(world.topic("trades"))
    world.publish_trades(*(world.feed.trade() for _ in range(20)))
    client.read()
    assert sub.lost == [(2, 13)] and [t[0] for t in sub.trades] == list(range(14, 22))


def test_trades_given_up_are_told_as_lost(world):
    client = world.client()
    world.publish_trades(world.feed.trade())
    sub = client.subscribe(world.topic("trades"))
    world.hub.reset_trades(world.instrument, 1, 10)
    world.hub.flush(world.now)
    world.feed.trade_seq = 10
    world.publish_trades(world.feed.trade())
    client.read()
    assert sub.lost == [(2, 10)] and [t[0] for t in sub.trades] == [11]


@FORMATS
def test_recover_of_trades(make_world, format):
    world = make_world(trade_capacity=8)
    client = world.client(format)
    world.publish_trades(world.feed.trade())
    sub = client.subscribe(world.topic("trades"))
    for _ in range(10):
        world.publish_trades(world.feed.trade())
    client.recover(sub.topic, 9)
    assert (sub.messages[-1]["first"], sub.messages[-1]["last"]) == (9, 11)
    client.recover(sub.topic, 2)
    assert sub.lost == [(2, 3)] and (sub.messages[-1]["first"], sub.messages[-1]["last"]) == (4, 11)
    client.recover(sub.topic, 0)
    assert (sub.messages[-1]["first"], sub.messages[-1]["last"]) == (4, 11)
    client.recover(sub.topic, 12)
    assert (sub.messages[-1]["first"], sub.messages[-1]["last"], sub.messages[-1]["trades"]) == (12, 11, [])
    stats = world.hub.stats()
    assert (stats["recover_trades"], stats["recover_lost"]) == (4, 1)


def test_resume_of_trades(world, make_world):
    other = make_world()
    client = world.client()
    trades = [world.feed.trade() for _ in range(6)]
    world.publish_trades(trades[0])
    other.publish_trades(trades[0])
    sub = client.subscribe(world.topic("trades"))
    world.publish_trades(*trades[1:3])
    client.read()
    other.publish_trades(trades[1])
    moved = other.client()
    again = moved.subscribe(other.topic("trades"), resume=sub)  # ahead by one
    assert moved.resumed
    other.publish_trades(trades[2])
    moved.read()
    assert again.messages == []
    other.publish_trades(*trades[3:])
    moved.read()
    assert [t[0] for t in again.trades] == [2, 3, 4, 5, 6]
    back = world.client()
    world.publish_trades(*trades[3:])
    behind = back.subscribe(world.topic("trades"), resume=sub)
    assert back.resumed and [t[0] for t in behind.trades] == [2, 3, 4, 5, 6]


def test_a_new_epoch_of_trades(world):
    client = world.client()
    world.publish_trades(world.feed.trade())
    sub = client.subscribe(world.topic("trades"))
    world.publish_trades(world.feed.trade(), trade_payload(2, 1, 5, 100, 1), trade_payload(2, 2, 5, 100, 1))
    client.read()
    assert (sub.epoch, sub.seq) == (2, 2)


def test_trades_of_an_interval_topic_are_held_together(world):
    client = world.client()
    sub = client.subscribe(world.topic("trades", interval_ms=250))
    for _ in range(20):
        world.publish_trades(world.feed.trade())
        world.after(50)
    client.read()
    world.after(300)
    client.read()
    assert [t[0] for t in sub.trades] == list(range(1, 21))
    assert len(sub.messages) <= 6


# ---- ticker


@FORMATS
def test_ticker(world, format):
    client = world.client(format)
    sub = client.subscribe(world.topic("ticker"))
    assert (sub.ticker["bid"], sub.ticker["ask"], sub.ticker["last"]) == ((100, 5), (101, 4), None)
    world.publish(world.feed.update({90: 1}))
    client.read()
    assert len(sub.messages) == 1
    world.publish_trades(world.feed.trade(price=101, size=2))
    client.read()
    assert (sub.ticker["last"], sub.ticker["seq"], sub.ticker["ts"]) == ((101, 2), 2, world.feed.ts)
    world.publish(world.feed.update({100: 0}))
    client.read()
    assert (sub.ticker["bid"], sub.ticker["seq"]) == ((99, 7), 3)
    client.recover(sub.topic, 0)
    assert len(sub.messages) == 4


def test_ticker_of_an_empty_book_is_null(make_world):
    world = make_world()
    world.publish(world.feed.update({100: 0, 99: 0, 98: 0}, {101: 0, 102: 0, 103: 0}))
    sub = world.client().subscribe(world.topic("ticker"))
    assert (sub.ticker["bid"], sub.ticker["ask"], sub.ticker["last"]) == (None, None, None)


# ---- heartbeats


@FORMATS
def test_heartbeats_list_what_was_silent(make_world, format):
    world = make_world(heartbeat_us=1_000_000)
    client = world.client(format)
    book = client.subscribe(world.topic())
    trades = client.subscribe(world.topic("trades"))
    world.after(1000)
    client.read()
    assert len(client.heartbeats) == 1
    assert client.heartbeats[0]["seqs"] == [[trades.topic.number, 0]]  # the book's snapshot was data
    world.after(1000)
    client.read()
    assert sorted(client.heartbeats[1]["seqs"]) == sorted([[book.topic.number, 1], [trades.topic.number, 0]])
    world.publish(world.feed.update({100: 3}))
    world.publish_trades(world.feed.trade())
    world.after(1000)
    client.read()
    assert client.heartbeats[2]["seqs"] == []
    world.after(1000)
    client.read()
    assert sorted(client.heartbeats[3]["seqs"]) == sorted([[book.topic.number, 2], [trades.topic.number, 1]])
    assert client.heartbeats[3]["time"] <= world.now


def test_heartbeats_come_without_subscriptions_and_spread_over_time(make_world):
    world = make_world(heartbeat_us=1_000_000)
    clients = [world.client() for _ in range(40)]
    for client in clients:
        world.hub.attach(client.sink)
    per_tick = [world.after(50) for _ in range(20)]
    assert per_tick == [2] * 20
    for client in clients:
        client.read()
        assert [h["seqs"] for h in client.heartbeats] == [[]]


def test_a_long_pause_is_one_heartbeat(make_world):
    world = make_world(heartbeat_us=1_000_000)
    client = world.client()
    world.hub.attach(client.sink)
    world.now += 3_600_000_000
    assert world.hub.tick(world.now) == 1
    assert world.hub.tick(world.now - 1_000_000) == 0


def test_a_resumed_subscription_is_silent_until_data_comes(make_world):
    world = make_world(heartbeat_us=1_000_000)
    client, moved = world.client(), world.client()
    sub = client.subscribe(world.topic())
    again = moved.subscribe(world.topic(), resume=sub)
    world.after(1000)
    moved.read()
    assert moved.heartbeats[0]["seqs"] == [[again.topic.number, 0]]


def test_a_heartbeat_needs_a_tick(make_world):
    with pytest.raises(ValueError, match="heartbeat_us"):
        make_world(heartbeat_us=10)


# ---- control messages


def test_control_messages_keep_their_place_among_the_data(world):
    clients = [world.client(JSON), world.client(MSGPACK)]
    topic = world.topic()
    for client in clients:
        client.subscribe(topic)
    world.publish(world.feed.update({100: 1}))
    state = {"type": "state", "sub": topic.number, "state": "halted"}
    world.hub.broadcast(
        topic, b'{"type":"state","sub":%d,"state":"halted"}' % topic.number, msgpack.packb(state)
    )
    world.publish(world.feed.update({100: 2}))
    for client in clients:
        kinds = [message["type"] for message in client.read()]
        assert kinds == ["delta", "state", "delta"]


def test_corked_messages_leave_in_one_write(world):
    client = world.client()
    world.hub.attach(client.sink)
    world.hub.cork()
    for i in range(3):
        world.hub.send(client.sink, b'{"type":"pong","id":%d}' % i)
    assert client.sink.writes == 0
    world.hub.uncork()
    assert client.sink.writes == 1
    assert [message["id"] for message in client.read()] == [0, 1, 2]
    with pytest.raises(RuntimeError):
        world.hub.uncork()


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_000])
def test_frames_of_every_header_size(world, size):
    client = world.client()
    world.hub.send(client.sink, b"x" * size)
    world.hub.send(client.sink, b"y")
    assert client.sink.take() == [b"x" * size, b"y"]


def test_nothing_reaches_a_closed_sink(world):
    client = world.client()
    client.subscribe(world.topic())
    client.sink.close()
    client.sink.close()
    world.hub.send(client.sink, b"{}")
    assert client.sink.take() == [] and client.sink.subscriptions == 0
    with pytest.raises(ValueError, match="closed"):
        world.hub.attach(client.sink)
    with pytest.raises(ValueError, match="closed"):
        world.hub.subscribe(client.sink, world.topic())


def test_what_a_closed_sink_was_still_due_is_forgotten(world):
    client = world.client()
    topic = world.topic()
    client.subscribe(topic)
    world.hub.cork()
    world.hub.broadcast(topic, b"{}", b"\x80")
    client.sink.close()
    world.hub.uncork()
    assert client.sink.take() == []


# ---- figures


def test_stats(world):
    client = world.client()
    client.subscribe(world.topic())
    client.subscribe(world.topic("trades"))
    before = world.hub.stats()
    world.now = world.feed.ts + 1000
    world.hub.tick(world.now)
    world.publish(world.feed.update({100: 1}))
    world.publish_trades(world.feed.trade())
    after = world.hub.stats()
    assert (after["topics"], after["subscriptions"], after["sinks"], after["slow_sinks"]) == (2, 2, 1, 0)
    assert after["deliveries"] - before["deliveries"] == 2
    assert after["updates"] - before["updates"] == 2
    assert after["writes"] - before["writes"] == 2
    assert after["bytes"] == client.sink.bytes_written
    assert sum(after["latency_us"]) == 2
    assert sum(after["flush_us"]) == sum(before["flush_us"]) + 2
