"""Grouped views: what they may cost, that they take turns, and that all they hold is given back."""

from __future__ import annotations

import pytest

from support.fanout import Client

LEVELS = 12_000
"""A side; two views are summed at once, a third has to wait."""


def fill(world, levels: int = LEVELS) -> None:
    """A deep book."""
    feed = world.feed
    feed.seq += 1
    feed.bids = {10_000_000 - n: 1 + n % 7 for n in range(levels)}
    feed.asks = {10_000_001 + n: 1 + n % 5 for n in range(levels)}
    world.hub.load_snap(world.instrument, feed.snap())
    world.flush()


def equals_feed(world, client: Client) -> None:
    client.read()
    for sub in client.subs.values():
        assert (sub.bids, sub.asks) == world.feed.view(sub.topic.depth, sub.topic.group)


def lasts(client: Client) -> list[int]:
    client.read()
    return [sub.seq for sub in client.subs.values()]


def deep(world, groups: range) -> Client:
    """A client with a deep book in these groups, and the whole budget again."""
    fill(world)
    client = world.client()
    for group in groups:
        client.subscribe(world.topic(group=group))
    world.after(50)
    return client


def test_grouped_views_beyond_the_budget_wait_for_their_turn_and_are_right_then(world):
    client = deep(world, range(2, 12))
    plain = world.client().subscribe(world.topic())
    world.publish(world.feed.update({10_000_000: 99}))
    seqs = lasts(client)
    now, before = world.feed.seq, world.feed.seq - 1
    assert sorted(set(seqs)) == [before, now], "some were sent, the others wait"
    assert seqs.count(now) == 5, "100,000 levels, 24,000 a view, and one may go beyond"
    assert plain.topic.seq == now
    assert world.hub.waits
    world.after(50)
    world.after(50)
    assert lasts(client) == [now] * 10
    assert not world.hub.waits
    equals_feed(world, client)


def test_waiting_views_are_served_in_the_order_in_which_they_came(world):
    client = deep(world, range(2, 12))
    first = [number for number, seq in enumerate(changed(world, client)) if seq]
    second = [number for number, seq in enumerate(changed(world, client)) if seq]
    assert set(first).isdisjoint(second), "who was not served comes before who was"
    assert len(first) == 5
    assert len(second) == 5


def changed(world, client: Client) -> list[bool]:
    """Publishes an update after a moment in which the budget filled up, and says which views were sent it or one before it."""
    old = lasts(client)
    world.now += 10_000
    world.publish(world.feed.update({10_000_000: 100 + world.feed.seq}))
    return [new > seq for new, seq in zip(lasts(client), old, strict=True)]


def test_a_small_grouped_book_is_sent_at_once_with_every_update(world):
    client = world.client()
    for group in range(2, 10):
        client.subscribe(world.topic(group=group))
    for size in range(10, 60):
        world.now += 1000
        world.publish(world.feed.update({100: size}))
        equals_feed(world, client)


def test_a_view_that_waits_for_its_turn_may_end(world):
    client = deep(world, range(2, 12))
    world.publish(world.feed.update({10_000_000: 99}))
    client.sink.close()
    assert world.hub.stats()["topics"] == 0
    assert not world.hub.waits
    world.after(50)


def test_grouped_subscriptions_are_counted(world):
    client = world.client()
    topics = [world.topic(), world.topic(depth=5), world.topic(group=10), world.topic(depth=5, group=10)]
    for topic in topics:
        client.subscribe(topic)
    assert client.sink.grouped == 2
    world.hub.unsubscribe(client.sink, topics[2])
    assert client.sink.grouped == 1
    client.sink.close()
    assert client.sink.grouped == 0


# ---- topics that nobody is subscribed to


def test_a_topic_that_nobody_joins_is_never_computed(world):
    topics = [world.topic(group=group) for group in range(2, 50)]
    updates = world.hub.updates
    world.publish(world.feed.update({100: 9}))
    assert world.hub.stats()["topics"] == 0
    assert world.hub.updates == updates
    assert world.instrument.topics == []
    assert not any(topic.alive for topic in topics)


def test_a_client_that_has_gone_leaves_no_topic(world):
    client = world.client()
    client.sink.close()
    for view in (("book", 0, 1, 0), ("book", 5, 10, 100), ("trades", 0, 1, 0), ("ticker", 0, 1, 50)):
        with pytest.raises(ValueError, match="the sink is closed"):
            world.hub.join(client.sink, world.instrument, view)
    assert world.hub.stats()["topics"] == 0
    assert world.hub.defer_us == 0
    assert world.instrument.topics == []


def test_a_resume_that_cannot_be_read_leaves_no_topic(world):
    client = world.client()
    with pytest.raises(OverflowError):
        world.hub.subscribe(client.sink, world.topic(), (1, -1))
    assert world.hub.stats()["topics"] == 0
    assert world.hub.stats()["subscriptions"] == 0
    assert client.subscribe(world.topic()).has_view


@pytest.mark.parametrize("view", [{}, {"group": 5}], ids=["full", "grouped"])
def test_a_snapshot_on_its_way_outlives_its_topic(world, view):
    """Both commands may come in one message, whose answers leave at its end."""
    fill(world, 3000)
    client = world.client()
    topic = world.topic(**view)
    world.hub.cork()
    client.subscribe(topic)
    world.hub.unsubscribe(client.sink, topic)
    junk = [bytes([255]) * size for size in range(10_000, 200_000, 500)]
    world.hub.uncork()
    client.read()
    assert [message["type"] for message in client.subs[topic.number].messages] == ["snapshot"]
    equals_feed(world, client)
    assert junk


# ---- what an answer costs


def test_a_recover_costs_what_must_be_computed_for_it(world):
    fill(world, 500)
    client = world.client()
    sub = client.subscribe(world.topic())
    for size in range(10, 20):
        world.publish(world.feed.update({10_000_000: size}))
    client.read()
    cost = lambda seq: world.hub.recover_work(client.sink, sub.topic, seq)  # noqa: E731
    assert cost(0) == 1001
    assert cost(sub.seq) == 2
    assert cost(sub.seq - 9) == 11
    assert cost(1) == 1001, "the log does not reach: a snapshot"
    client.recover(sub.topic, 0)
    assert cost(0) == 1, "the snapshot is ready now"
    world.publish(world.feed.update({10_000_000: 5}))
    assert cost(0) == 1001


def test_a_recover_of_trades_costs_the_trades(world):
    client = world.client()
    sub = client.subscribe(world.topic("trades"))
    world.publish_trades(*(world.feed.trade() for _ in range(50)))
    assert world.hub.recover_work(client.sink, sub.topic, 0) == 51
    assert world.hub.recover_work(client.sink, sub.topic, 41) == 11
    assert world.hub.recover_work(client.sink, sub.topic, 1000) == 1


def test_views_keep_no_more_memory_than_they_need(world):
    """A small view must not keep the room that a large one took for a moment."""
    fill(world)
    client = world.client()
    client.subscribe(world.topic())
    subs = [client.subscribe(world.topic(depth=10, group=group)) for group in range(1000, 1040)]
    for size in range(10, 20):
        world.now += 1_000_000
        client.recover(client.subs[min(client.subs)].topic, 0)
        world.publish(world.feed.update({10_000_000: size}))
    world.after(1000)
    equals_feed(world, client)
    assert max(sub.topic.view_bytes for sub in subs) <= 2 * 16 * (2 * 10 + 64 + 12)
