"""Book topics: snapshots, deltas, and who gets what, with sinks in memory."""

from __future__ import annotations

import pytest

from mdstream.errors import BookError, PayloadError
from support.fanout import FORMATS, JSON, MSGPACK, VIEWS, book_payload, equals_feed


@FORMATS
@VIEWS
def test_snapshot_then_deltas(world, format, depth, group):
    client = world.client(format)
    sub = client.subscribe(world.topic(depth=depth, group=group))
    assert [m["type"] for m in sub.messages] == ["snapshot"]
    assert sub.messages[0]["reason"] == "subscribe"
    equals_feed(client, world.feed)
    world.publish(world.feed.update({100: 9, 99: 0}))
    world.publish(world.feed.update({}, {101: 0, 104: 3}))
    equals_feed(client, world.feed)
    assert [m["type"] for m in sub.messages[1:]] == ["delta"] * (len(sub.messages) - 1) != []


def test_one_number_serves_all_subscribers(world):
    topic = world.topic(depth=5)
    assert world.topic(depth=5) is topic
    assert world.topic(depth=10).number != topic.number
    clients = [world.client(format) for format in (JSON, MSGPACK, JSON)]
    for client in clients:
        client.subscribe(topic)
    assert topic.subscribers == 3
    assert world.publish(world.feed.update({100: 6})) == 3
    for client in clients:
        equals_feed(client, world.feed)


def test_a_batch_is_one_delta_and_one_write(world):
    client = world.client()
    sub = client.subscribe(world.topic())
    client.subscribe(world.topic(depth=1))
    client.subscribe(world.topic("ticker"))
    writes = client.sink.writes
    world.publish(*(world.feed.update({100: lots}) for lots in range(10, 20)))
    client.read()
    assert client.sink.writes == writes + 1
    assert (sub.messages[-1]["first"], sub.messages[-1]["last"]) == (2, 11)
    equals_feed_of_books = {n: s for n, s in client.subs.items() if s.topic.channel == "book"}
    assert all((s.bids, s.asks) == world.feed.view(s.topic.depth) for s in equals_feed_of_books.values())


def test_an_unchanged_view_is_not_sent_and_numbers_stay_contiguous(world):
    client = world.client()
    sub = client.subscribe(world.topic(depth=1))
    assert world.publish(world.feed.update({98: 8})) == 0
    world.publish(world.feed.update({100: 1}))
    client.read()
    assert (sub.messages[-1]["first"], sub.messages[-1]["last"]) == (2, 3)


def test_the_number_of_a_full_book_moves_though_its_updates_cancel_out(world):
    client = world.client()
    sub = client.subscribe(world.topic())
    world.publish(world.feed.update({100: 6}), world.feed.update({100: 5}))
    client.read()
    assert (sub.messages[-1]["first"], sub.messages[-1]["last"], sub.messages[-1]["bids"]) == (2, 3, {})


def test_a_newcomer_stands_where_the_topic_stands(world):
    early, late = world.client(), world.client()
    topic = world.topic(depth=1)
    early.subscribe(topic)
    world.publish(world.feed.update({98: 8}))  # the topic stays at 1
    sub = late.subscribe(topic)
    assert sub.seq == topic.seq
    world.publish(world.feed.update({100: 1}))
    equals_feed(early, world.feed)
    equals_feed(late, world.feed)


def test_nothing_is_sent_between_subscribe_and_catch_up(world):
    topic = world.topic()
    other = world.client()
    other.subscribe(topic)
    client = world.client()
    world.hub.subscribe(client.sink, topic)
    world.publish(world.feed.update({100: 1}))
    world.hub.broadcast(topic, b"{}", b"\x80")
    world.after(100)
    assert client.sink.take() == []
    world.hub.catch_up(client.sink, topic)
    assert len(client.sink.take()) == 1


def test_snapshots_of_one_book_version_are_encoded_once(world):
    topic = world.topic()
    payloads = []
    for _ in range(3):
        client = world.client()
        world.hub.subscribe(client.sink, topic)
        world.hub.catch_up(client.sink, topic)
        payloads += client.sink.take()
    assert len(payloads) == 3 and len(set(payloads)) == 1


def test_subscribing_twice_is_refused(world):
    client = world.client()
    topic = world.topic()
    client.subscribe(topic)
    with pytest.raises(ValueError, match="already"):
        world.hub.subscribe(client.sink, topic)
    assert world.hub.find(client.sink, topic.number) is topic
    assert world.hub.find(client.sink, topic.number + 1) is None


def test_a_topic_ends_with_its_last_subscriber(world):
    client, other = world.client(), world.client()
    topic = world.topic()
    client.subscribe(topic)
    other.subscribe(topic)
    assert world.hub.unsubscribe(client.sink, topic)
    assert topic.alive and not world.hub.unsubscribe(client.sink, topic)
    other.sink.close()
    assert not topic.alive and world.instrument.topics == []
    again = world.topic()
    assert again.number != topic.number
    with pytest.raises(ValueError, match="not subscribed"):
        world.hub.recover(client.sink, again, 0)
    client.subscribe(again)
    with pytest.raises(ValueError, match="ended"):
        world.hub.subscribe(world.client().sink, topic)


def test_an_ended_topic_may_come_back_if_nobody_took_its_key(world):
    topic = world.topic()
    first = world.client()
    first.subscribe(topic)
    first.sink.close()
    second = world.client()
    second.subscribe(topic)
    world.publish(world.feed.update({100: 2}))
    equals_feed(second, world.feed)


def test_members_keep_their_places_however_they_leave(world):
    topics = [world.topic(depth=d, group=g) for d in (0, 1, 5) for g in (1, 2)]
    clients = [world.client(i % 2) for i in range(7)]
    for i, client in enumerate(clients):
        for j in range(len(topics)):
            client.subscribe(topics[(i + j) % len(topics)])
    for i, client in enumerate(clients[:-1]):
        for topic in topics[i % 3 :: 2]:
            world.hub.unsubscribe(client.sink, topic)
            del client.subs[topic.number]
        world.publish(world.feed.update({100 - i: 5 + i}))
        for each in clients:
            equals_feed(each, world.feed)
    clients[0].sink.close()
    world.publish(world.feed.update({50: 1}))
    for each in clients[1:]:
        equals_feed(each, world.feed)


def test_an_instrument_leaves_only_without_subscribers(world):
    client = world.client()
    client.subscribe(world.topic())
    with pytest.raises(ValueError, match="subscribers"):
        world.hub.remove_instrument(world.instrument)
    client.sink.close()
    world.topic("trades")  # asked for, never subscribed to
    world.hub.remove_instrument(world.instrument)
    with pytest.raises(ValueError, match="no instrument of this hub"):
        world.topic()
    world.hub.add_instrument("SIM:BTC-USD", -2, -3)
    with pytest.raises(ValueError, match="exists"):
        world.hub.add_instrument("SIM:BTC-USD", -2, -3)


@pytest.mark.parametrize(
    ("channel", "key"), [("candles", {}), ("book", {"depth": -1}), ("book", {"group": 0})]
)
def test_a_topic_that_cannot_be(world, channel, key):
    with pytest.raises(ValueError):
        world.topic(channel, **key)


# ---- what comes from the bus


def test_what_came_before_a_refused_value_is_sent(world):
    client = world.client()
    client.subscribe(world.topic())
    good = world.feed.update({100: 1})
    with pytest.raises(BookError):
        world.hub.take_book(world.instrument, good + book_payload(1, 3, 3, 5, [200, 1], []))
    world.hub.flush(world.now)
    equals_feed(client, world.feed)
    with pytest.raises(PayloadError):
        world.hub.take_book(world.instrument, b"\xc1")
    assert world.hub.flush(world.now) == 0


@VIEWS
def test_a_new_epoch_is_a_snapshot_for_all(world, depth, group):
    clients = [world.client(format) for format in (JSON, MSGPACK)]
    subs = [client.subscribe(world.topic(depth=depth, group=group)) for client in clients]
    world.feed.restart()
    world.publish(world.feed.update({50: 1}, {60: 1}))
    for client, sub in zip(clients, subs, strict=True):
        equals_feed(client, world.feed)
        assert (sub.messages[-1]["reason"], sub.epoch, sub.seq) == ("epoch", 2, 1)


@VIEWS
def test_a_loaded_snapshot_is_told_as_reload(world, depth, group):
    client = world.client()
    sub = client.subscribe(world.topic(depth=depth, group=group))
    for lots in range(3):
        world.feed.update({100: lots + 20})
    assert world.hub.load_snap(world.instrument, world.feed.snap())
    world.hub.flush(world.now)
    equals_feed(client, world.feed)
    assert (sub.messages[-1]["reason"], sub.seq) == ("reload", 4)
    assert not world.hub.load_snap(world.instrument, world.feed.snap())
    assert world.hub.load_snap(world.instrument, world.feed.snap(), force=True)
    world.hub.flush(world.now)
    equals_feed(client, world.feed)
    assert len(sub.messages) == 3


def test_a_burst_longer_than_the_log_is_a_snapshot_of_a_full_book_and_a_delta_of_a_cut_one(make_world):
    world = make_world(log_capacity=16)
    client = world.client()
    full = client.subscribe(world.topic())
    best = client.subscribe(world.topic(depth=1))
    world.publish(*(world.feed.update({100: lots, 99: lots}) for lots in range(1, 100)))
    equals_feed(client, world.feed)
    assert full.messages[-1]["type"] == "snapshot" and full.messages[-1]["reason"] == "reload"
    assert best.messages[-1]["type"] == "delta"


# ---- recover


@FORMATS
@VIEWS
def test_recover_bridges_a_gap(world, format, depth, group):
    client = world.client(format)
    sub = client.subscribe(world.topic(depth=depth, group=group))
    held = dict(sub.bids), dict(sub.asks), sub.seq
    for lots in range(1, 20):
        world.publish(world.feed.update({100: lots, 99: lots % 3}, {101 + lots % 4: lots}))
    client.read()
    sub.bids, sub.asks, sub.seq = held
    before = len(sub.messages)
    client.recover(sub.topic, sub.seq + 1)
    assert len(sub.messages) == before + 1
    equals_feed(client, world.feed)
    world.publish(world.feed.update({100: 77}))
    equals_feed(client, world.feed)


def test_recover_gives_whichever_is_shorter(world):
    client = world.client()
    world.publish(world.feed.update(dict.fromkeys(range(1, 90), 1)))
    full = client.subscribe(world.topic())
    world.publish(world.feed.update({100: 1}))
    client.recover(full.topic, full.seq)
    assert full.messages[-1]["type"] == "delta"
    world.publish(world.feed.update(dict.fromkeys(range(2, 90), 0)))
    client.read()
    full.seq, full.bids[89] = 3, 1
    client.recover(full.topic, 4)
    assert full.messages[-1]["type"] == "snapshot" and full.messages[-1]["reason"] == "recover"
    equals_feed(client, world.feed)


@pytest.mark.parametrize("from_seq", [0, 2, 10**15])
def test_recover_from_nowhere_is_a_snapshot(world, from_seq):
    client = world.client()
    sub = client.subscribe(world.topic(depth=5))
    client.recover(sub.topic, from_seq)
    assert [m["type"] for m in sub.messages] == ["snapshot", "snapshot"]
    assert sub.messages[-1]["reason"] == "recover"
    stats = world.hub.stats()
    assert (stats["recover_snapshot"], stats["recover_delta"]) == (1, 0)


def test_recover_is_answered_even_if_nothing_changed(world):
    client = world.client()
    sub = client.subscribe(world.topic(depth=1))
    world.publish(world.feed.update({100: 6}))
    world.publish(world.feed.update({100: 5}))
    client.read()
    sub.seq = 1
    client.recover(sub.topic, 2)
    assert (sub.messages[-1]["type"], sub.messages[-1]["bids"]) == ("delta", {})
    assert sub.seq == 3


def test_recover_beyond_the_log_is_a_snapshot(make_world):
    world = make_world(log_capacity=16)
    client = world.client()
    sub = client.subscribe(world.topic())
    for lots in range(1, 40):
        world.publish(world.feed.update({100: lots}))
    client.recover(sub.topic, 2)
    assert sub.messages[-1]["type"] == "snapshot"
    equals_feed(client, world.feed)
