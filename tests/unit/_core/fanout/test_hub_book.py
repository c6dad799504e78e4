"""Book topics: snapshots, deltas, and who gets what, with sinks in memory."""

from __future__ import annotations

import pytest

from mdstream.errors import BookError, PayloadError
from support.fanout import JSON, MSGPACK, Client, Feed, book_payload

FORMATS = pytest.mark.parametrize("format", [JSON, MSGPACK], ids=["json", "msgpack"])
VIEWS = pytest.mark.parametrize(("depth", "group"), [(0, 1), (1, 1), (2, 1), (0, 5), (1, 2)])


def equals_feed(client: Client, feed: Feed) -> None:
    client.read()
    for sub in client.subs.values():
        assert (sub.bids, sub.asks) == feed.view(sub.topic.depth, sub.topic.group)


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


# ---- resume


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


# ---- intervals


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
