"""Book topics with an interval: what they conflate, and when they send."""

from __future__ import annotations

from support.fanout import VIEWS, equals_feed


@VIEWS
def test_an_interval_conflates(world, depth, group):
    client, every = world.client(), world.client()
    sub = client.subscribe(world.topic(depth=depth, group=group, interval_ms=100))
    full = every.subscribe(world.topic(depth=depth, group=group))
    for lots in range(1, 41):  # one update each 10 ms
        world.publish(world.feed.update({100: lots}))
        world.now += 10_000
        if lots % 5 == 0:
            world.hub.tick(world.now)
    every.read()
    client.read()
    assert len(full.messages) == 41
    assert 4 <= len(sub.messages) - 1 <= 6
    world.after(150)
    equals_feed(client, world.feed)


def test_the_bus_may_wait_a_tenth_of_the_shortest_interval(world):
    client, other = world.client(), world.client()
    assert world.hub.defer_us == 0
    client.subscribe(world.topic(interval_ms=250))
    assert world.hub.defer_us == 25_000
    quick = world.topic(interval_ms=100)
    other.subscribe(quick)
    client.subscribe(quick)
    assert world.hub.defer_us == 10_000
    every = world.topic()
    client.subscribe(every)
    assert world.hub.defer_us == 10_000
    for topic in (every, quick):
        world.hub.unsubscribe(client.sink, topic)
    assert world.hub.defer_us == 10_000
    other.sink.close()
    assert world.hub.defer_us == 25_000
    client.sink.close()
    assert world.hub.defer_us == 0


def test_messages_of_topics_without_an_interval_are_counted_for_those_who_might_delay_them(world):
    client = world.client()
    client.subscribe(world.topic(interval_ms=100))
    world.publish(world.feed.update({100: 9}))
    assert world.hub.undelayed == 0
    client.subscribe(world.topic())
    world.publish(world.feed.update({100: 8}))
    assert world.hub.undelayed == 1


def test_after_silence_an_interval_topic_sends_at_once(world):
    client = world.client()
    sub = client.subscribe(world.topic(interval_ms=1000))
    world.after(5000)
    assert world.publish(world.feed.update({100: 1})) == 1
    assert world.publish(world.feed.update({100: 2})) == 0
    client.read()
    assert len(sub.messages) == 2
    assert world.after(900) == 0
    assert world.after(150) == 1
    equals_feed(client, world.feed)


def test_a_newcomer_to_an_interval_topic_gets_the_view_of_its_last_number(world):
    early, late = world.client(), world.client()
    topic = world.topic(interval_ms=500)
    early.subscribe(topic)
    world.publish(world.feed.update({100: 1}))
    world.publish(world.feed.update({100: 2}))
    sub = late.subscribe(topic)
    assert sub.seq == topic.seq == 2 and sub.bids[100] == 1
    world.after(600)
    equals_feed(early, world.feed)
    equals_feed(late, world.feed)


def test_an_interval_topic_that_ended_while_it_waited_begins_anew(world):
    client = world.client()
    topic = world.topic(interval_ms=100)
    client.subscribe(topic)
    world.publish(world.feed.update({100: 1}))
    world.publish(world.feed.update({100: 2}))
    client.read()
    world.hub.unsubscribe(client.sink, topic)
    sub = client.subscribe(topic)
    for lots in range(3, 6):
        world.publish(world.feed.update({100: lots}))
    world.after(200)
    client.read()
    assert sub.bids[100] == 5
    equals_feed(client, world.feed)


def test_an_interval_topic_whose_log_is_gone_still_answers(make_world):
    world = make_world(log_capacity=16)
    early, late = world.client(), world.client()
    topic = world.topic(interval_ms=500)
    early.subscribe(topic)
    world.publish(world.feed.update({100: 1}))
    for lots in range(2, 60):
        world.publish(world.feed.update({100: lots}))
    late.subscribe(topic)
    equals_feed(late, world.feed)
    equals_feed(early, world.feed)
