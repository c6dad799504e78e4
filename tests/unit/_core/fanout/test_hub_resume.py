"""Book topics: who goes on, on this hub or on another, where it was."""

from __future__ import annotations

from support.fanout import VIEWS, equals_feed


def second_gateway(world, make_world, **options):
    """Another hub that is fed the same payloads; `tell` feeds both."""
    other = make_world(**options)
    other.feed = world.feed
    return other


@VIEWS
def test_resume_on_another_hub_goes_on_without_a_snapshot(world, make_world, depth, group):
    other = second_gateway(world, make_world)
    client = world.client()
    sub = client.subscribe(world.topic(depth=depth, group=group))
    for lots in range(1, 12):
        payload = world.feed.update({100: lots, 99: lots % 2})
        world.publish(payload)
        other.publish(payload, flush=lots % 3 == 0)
    client.read()
    later = world.feed.update({100: 50})
    other.publish(later, flush=False)
    moved = other.client()
    again = moved.subscribe(other.topic(depth=depth, group=group), resume=sub)
    assert moved.resumed
    other.publish(world.feed.update({}, {101: 9}))
    equals_feed(moved, world.feed)
    assert all(message["type"] == "delta" for message in again.messages)


def test_a_resume_goes_on_by_a_delta_also_where_a_snapshot_is_shorter(world, make_world):
    other = second_gateway(world, make_world)
    client = world.client()
    sub = client.subscribe(world.topic())
    other.publish(world.feed.update({100: 0, 99: 0, 98: 0, 97: 1}, {101: 0, 102: 0, 103: 0, 104: 1}))
    moved = other.client()
    again = moved.subscribe(other.topic(), resume=sub)
    assert moved.resumed
    assert [message["type"] for message in again.messages] == ["delta"]
    equals_feed(moved, world.feed)


def test_resume_where_nothing_was_missed_sends_nothing(world):
    client = world.client()
    sub = client.subscribe(world.topic(depth=5))
    moved = world.client()
    again = moved.subscribe(world.topic(depth=5), resume=sub)
    assert moved.resumed and again.messages == []


def test_resume_ahead_waits_until_the_gateway_is_there(world, make_world):
    other = second_gateway(world, make_world)
    client = world.client()
    sub = client.subscribe(world.topic())
    payloads = [world.feed.update({100: lots}) for lots in range(1, 4)]
    world.publish(*payloads)
    client.read()
    moved = other.client()
    again = moved.subscribe(other.topic(), resume=sub)
    other.publish(payloads[0])
    other.after(200)
    moved.read()
    assert moved.resumed and again.messages == []
    other.publish(payloads[1])
    other.publish(payloads[2], world.feed.update({100: 9}))
    equals_feed(moved, world.feed)
    assert [m["type"] for m in again.messages] == ["delta"]


def test_resume_ahead_of_an_unchanging_view_moves_the_topic_there(world, make_world):
    other = second_gateway(world, make_world)
    client, quiet = world.client(), other.client()
    sub = client.subscribe(world.topic(depth=1))
    quiet_sub = quiet.subscribe(other.topic(depth=1))
    there_and_back = [world.feed.update({100: 6}), world.feed.update({100: 5})]
    for payload in there_and_back:
        world.publish(payload)
    other.publish(*there_and_back)  # one batch: its view did not change, its topic stays at 1
    client.read()
    moved = other.client()
    again = moved.subscribe(other.topic(depth=1), resume=sub)
    other.publish(world.feed.update({100: 8}))
    quiet.read()
    equals_feed(moved, world.feed)
    assert [m["type"] for m in again.messages] == ["delta"]
    assert [m["type"] for m in quiet_sub.messages] == ["snapshot", "delta", "delta"]


def test_resume_ahead_that_never_comes_true_ends_in_a_snapshot(world):
    client = world.client()
    sub = client.subscribe(world.topic())
    sub.seq = 1000
    moved = world.client()
    again = moved.subscribe(world.topic(), resume=sub)
    assert moved.resumed
    world.after(1900)
    moved.read()
    assert again.messages == []
    world.after(150)
    equals_feed(moved, world.feed)
    assert [m["reason"] for m in again.messages] == ["subscribe"]


def test_resume_ahead_at_a_number_that_the_bus_bears_out_waits_for_it(world):
    client = world.client()
    sub = client.subscribe(world.topic())
    sub.seq = world.feed.seq + 2
    moved = world.client()
    again = moved.subscribe(world.topic(), resume=sub)
    world.instrument.awaited = sub.seq
    world.after(60_000)
    moved.read()
    assert again.messages == []
    world.instrument.awaited = sub.seq - 1
    world.after(50)
    equals_feed(moved, world.feed)
    assert [m["reason"] for m in again.messages] == ["subscribe"]


def test_resume_of_another_epoch_is_refused(world):
    client = world.client()
    sub = client.subscribe(world.topic())
    sub.epoch = 9
    moved = world.client()
    again = moved.subscribe(world.topic(), resume=sub)
    assert not moved.resumed and again.messages[0]["type"] == "snapshot"


def test_resume_beyond_the_log_is_refused(make_world):
    world = make_world(log_capacity=16)
    client = world.client()
    sub = client.subscribe(world.topic())
    client.sink.close()
    world.publish(*(world.feed.update({100: lots}) for lots in range(1, 60)))
    moved = world.client()
    again = moved.subscribe(world.topic(), resume=sub)
    assert not moved.resumed and again.messages[0]["reason"] == "subscribe"


def test_an_epoch_that_begins_while_a_resume_waits_is_a_snapshot(world):
    client = world.client()
    sub = client.subscribe(world.topic())
    sub.seq = 1000
    moved = world.client()
    again = moved.subscribe(world.topic(), resume=sub)
    world.feed.restart()
    world.publish(world.feed.update({50: 1}))
    equals_feed(moved, world.feed)
    assert again.messages[0]["reason"] == "epoch"
    assert world.after(3000) == 0
