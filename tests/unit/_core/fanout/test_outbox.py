"""What is due is written in batches where a sender can, and by the sink itself where it cannot."""

from __future__ import annotations

import pytest
from doubles.memory_sink import MemorySender

from support.fanout import JSON, Client

BATCH = 32
FITS, TOO_LARGE = 16_384, 16_385  # joined for one sink


@pytest.fixture
def sender() -> MemorySender:
    return MemorySender()


@pytest.fixture
def world(make_world, sender):
    return make_world(sender=sender)


def clients(world, sender, count):
    return [Client(world.hub, JSON, sender=sender) for _ in range(count)]


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 10 * BATCH])
def test_sinks_are_written_to_in_batches(world, sender, count):
    topic = world.topic()
    some = clients(world, sender, count)
    subs = [client.subscribe(topic) for client in some]
    calls, jobs, writes = sender.calls, sender.jobs, world.hub.stats()["writes"]
    world.publish(world.feed.update({100: 7}))
    assert sender.calls - calls == -(-count // BATCH)
    assert sender.jobs - jobs == world.hub.stats()["writes"] - writes == count
    for client, sub in zip(some, subs, strict=True):
        client.read()
        assert (sub.bids, sub.asks) == world.feed.view()


def test_those_that_only_their_sink_can_write_to_are_among_the_others(world, sender):
    topic = world.topic()
    some = clients(world, sender, 5) + [Client(world.hub, JSON) for _ in range(5)] + clients(world, sender, 5)
    subs = [client.subscribe(topic) for client in some]
    jobs = sender.jobs
    world.publish(world.feed.update({100: 7}))
    assert sender.jobs - jobs == 10
    for client, sub in zip(some, subs, strict=True):
        client.read()
        assert sub.seq == world.feed.seq


@pytest.mark.parametrize("batched", [False, True])
def test_messages_that_lie_apart_leave_in_one_write_and_in_order(world, sender, batched):
    one, two = (Client(world.hub, JSON, sender=sender if batched else None) for _ in range(2))
    writes = world.hub.stats()["writes"]
    world.hub.cork()
    for i in range(10):
        world.hub.send(one.sink, b"%d" % i)
        world.hub.send(two.sink, b"%d" % -i)
    world.hub.uncork()
    assert world.hub.stats()["writes"] == writes + 2
    assert one.sink.take() == [b"%d" % i for i in range(10)]
    assert two.sink.take() == [b"%d" % -i for i in range(10)]


@pytest.mark.parametrize(("size", "jobs"), [(FITS, 1), (TOO_LARGE, 0)])
def test_much_is_left_to_the_sink(world, sender, size, jobs):
    (client,) = clients(world, sender, 1)
    payload = b"x" * (size - 4)
    before = sender.jobs
    world.hub.send(client.sink, payload)
    assert sender.jobs - before == jobs
    assert client.sink.take() == [payload]


def test_more_pieces_than_fit_side_by_side_take_more_batches(world, sender):
    some = clients(world, sender, 12)
    calls, jobs = sender.calls, sender.jobs
    world.hub.cork()
    for part in (b"a", b"b"):
        for client in some:
            world.hub.send(client.sink, part * 6_000)
    world.hub.uncork()
    assert (sender.calls - calls, sender.jobs - jobs) == (3, 12)  # 12 kB each, 64 KiB at a time
    assert all(client.sink.take() == [b"a" * 6_000, b"b" * 6_000] for client in some)


def test_what_a_socket_does_not_take_is_its_sinks_again(world, sender):
    topic = world.topic()
    some = clients(world, sender, 40)
    subs = [client.subscribe(topic) for client in some]
    some[20].sink.drain(room=10)
    world.publish(world.feed.update({100: 7}))
    assert [client.sink.blocked for client in some] == [i == 20 for i in range(40)]
    jobs = sender.jobs
    world.publish(world.feed.update({100: 8}))
    assert sender.jobs - jobs == 39
    some[20].sink.drain()
    for client, sub in zip(some, subs, strict=True):
        client.read()
        assert (sub.bids, sub.seq) == (world.feed.view()[0], world.feed.seq)


def test_a_socket_that_is_just_full_has_taken_all(world, sender):
    (client,) = clients(world, sender, 1)
    world.hub.send(client.sink, b"{}")
    (size,) = {client.sink.bytes_written}
    client.sink.drain(room=size)
    world.hub.send(client.sink, b"[]")
    assert client.sink.take() == [b"{}", b"[]"] and not client.sink.blocked
    world.hub.send(client.sink, b"{}")
    assert client.sink.blocked


def test_a_sink_that_is_closed_before_its_turn_gets_nothing(world, sender):
    some = clients(world, sender, 3)
    world.hub.cork()
    for client in some:
        world.hub.send(client.sink, b"{}")
    some[1].sink.close()
    world.hub.uncork()
    assert [client.sink.take() for client in some] == [[b"{}"], [], [b"{}"]]
