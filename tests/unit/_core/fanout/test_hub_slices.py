"""What is due to one sink in one go is bounded: in bytes before they are written, and in time before others have their turn."""

from __future__ import annotations

import pytest

from support.fanout import JSON, MSGPACK

DEPTHS = (0, 1, 2, 5, 10, 20, 50, 100)
RELIEF_BYTES = 65_536


@pytest.fixture
def deep_world(make_world):
    """A book of 2 × 3,000 levels, more than 100 kB as JSON."""
    world = make_world(slice_us=0)
    bids = {1_000_000 - i: 1_000_000 + i for i in range(3_000)}
    asks = {1_000_001 + i: 1_000_000 + i for i in range(3_000)}
    world.publish(world.feed.update(dict.fromkeys((98, 99, 100), 0), dict.fromkeys((101, 102, 103), 0)))
    world.publish(world.feed.update(bids, asks))
    return world


def test_many_answers_under_one_cork_are_written_in_between(deep_world):
    topic = deep_world.topic()
    client = deep_world.client()
    client.subscribe(topic)
    before = client.sink.writes
    deep_world.hub.cork()
    for _ in range(10):
        deep_world.hub.recover(client.sink, topic, 0)
    assert client.sink.writes == before + 10
    deep_world.hub.uncork()
    assert [message["reason"] for message in client.read()] == ["recover"] * 10


def test_control_messages_too(world):
    client = world.client()
    world.hub.cork()
    for _ in range(100):
        world.hub.send(client.sink, b'{"type":"pong"}' + b" " * 2_000)
    assert client.sink.bytes_written > 100 * 2_000 - RELIEF_BYTES
    world.hub.uncork()
    assert len(client.sink.take()) == 100


@pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_one_who_takes_no_more_is_sent_no_more_in_the_same_message(deep_world, format):
    topic = deep_world.topic()
    client = deep_world.client(format)
    sub = client.subscribe(topic)
    snapshot_bytes = client.sink.bytes_written
    client.sink.drain(room=2 * snapshot_bytes)
    deep_world.hub.cork()
    for _ in range(1_000):
        deep_world.hub.recover(client.sink, topic, 0)
    deep_world.hub.uncork()
    assert client.sink.blocked and client.sink.bytes_written < 6 * snapshot_bytes
    client.sink.drain()
    client.read()
    assert (sub.bids, sub.asks) == deep_world.feed.view()
    assert client.sink.bytes_written < 7 * snapshot_bytes, "what was asked for many times is sent once"


def test_an_answer_that_ends_its_sink_is_followed_by_nothing(deep_world):
    topic = deep_world.topic()
    client = deep_world.client()
    client.sink.end_at_write = 1
    deep_world.hub.subscribe(client.sink, topic)
    deep_world.hub.cork()
    deep_world.hub.catch_up(client.sink, topic, b" " * RELIEF_BYTES)
    deep_world.hub.uncork()
    assert client.sink.closed and client.sink.writes == 1
    assert not topic.alive


def behind(world, format=JSON):
    """A client that is blocked, and has missed an update of each of its topics."""
    client = world.client(format)
    subs = [client.subscribe(world.topic(depth=depth)) for depth in DEPTHS]
    client.sink.drain(room=1)
    world.hub.send(client.sink, b'{"type":"pong"}' if format == JSON else b"\x81\xa4type\xa4pong")
    client.read()
    world.publish(world.feed.update({1_000_000: 7}))
    assert client.sink.blocked and client.sink.take() == []
    return client, subs


@pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_one_that_reads_again_is_brought_up_to_date_a_slice_at_a_time(deep_world, format):
    client, subs = behind(deep_world, format)
    for _ in DEPTHS[:-1]:
        assert not client.sink.drain_slice()
        assert len(client.read()) == 1
    assert client.sink.drain_slice()
    client.read()
    assert all((sub.bids, sub.asks) == deep_world.feed.view(sub.topic.depth) for sub in subs)
    assert client.sink.drain_slice() and client.read() == [], "there is nothing more to do"


def test_what_is_up_to_date_goes_on_between_two_slices(deep_world):
    client, subs = behind(deep_world)
    client.sink.drain_slice()
    client.read()
    for lots in range(10, 15):
        deep_world.publish(deep_world.feed.update({1_000_000: lots}))
    assert len(client.read()) == 5
    while not client.sink.drain_slice():
        pass
    client.read()
    assert all((sub.bids, sub.asks) == deep_world.feed.view(sub.topic.depth) for sub in subs)


def test_it_may_block_again_between_two_slices(deep_world):
    client, subs = behind(deep_world)
    assert not client.sink.drain_slice(room=1_000_000)
    client.read()
    client.sink.drain_slice(room=1)
    deep_world.publish(deep_world.feed.update({1_000_000: 9}))
    assert client.sink.blocked
    client.read()
    client.sink.drain()
    client.read()
    assert all((sub.bids, sub.asks) == deep_world.feed.view(sub.topic.depth) for sub in subs)


def test_one_that_keeps_up_slice_by_slice_is_not_too_slow(make_world):
    world = make_world(slice_us=0, slow_limit_us=1_000_000)
    client, _ = behind_of(world)
    for _ in DEPTHS:
        client.sink.drain_slice()
        world.after(500)
    assert not client.sink.closed
    world.after(2_000)
    assert not client.sink.closed


def behind_of(world):
    world.publish(world.feed.update({1_000_000: 1}, {1_000_001: 1, 101: 0, 102: 0, 103: 0}))
    return behind(world)


def test_subscriptions_that_end_between_two_slices_are_not_missed(deep_world):
    client, subs = behind(deep_world)
    client.sink.drain_slice()
    for sub in subs[2:]:
        deep_world.hub.unsubscribe(client.sink, sub.topic)
    while not client.sink.drain_slice():
        pass
    client.read()
    assert all((sub.bids, sub.asks) == deep_world.feed.view(sub.topic.depth) for sub in subs[:2])
    for sub in subs[:2]:
        deep_world.hub.unsubscribe(client.sink, sub.topic)
    assert client.sink.drain_slice()
