"""Topics that are composed outside the core: who is sent what, from the numbers that their owner gives."""

from __future__ import annotations

import pytest

from support.fanout import JSON, MSGPACK


class Source:
    """Messages that say what they lead from and to; it reaches back to ``oldest``."""

    def __init__(self) -> None:
        self.seq = 0
        self.oldest = 0
        self.asked: list[tuple[int, int | None]] = []

    def reaches(self, since: int) -> bool:
        return self.oldest <= since

    def missing(self, format: int, since: int | None) -> list[bytes]:
        self.asked.append((format, since))
        return [f"{since}:".encode(), f"{self.seq}".encode()]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def topic(world, source):
    return world.hub.compose("*", "board", 100, source, epoch=77)


def publish(world, source, topic) -> None:
    source.seq += 1
    world.hub.publish(topic, source.seq, 5)


def join(world, topic, format=JSON, resume=None):
    client = world.client(format)
    client.resumed = world.hub.subscribe(client.sink, topic, resume)
    world.hub.catch_up(client.sink, topic, b"hello")
    return client


def test_a_new_member_gets_everything_and_then_what_is_new(world, source, topic) -> None:
    publish(world, source, topic)
    client = join(world, topic)
    assert (client.resumed, client.sink.take()) == (False, [b"hello", b"None:", b"1"])
    publish(world, source, topic)
    assert client.sink.take() == [b"1:", b"2"]
    assert (topic.seq, topic.epoch, topic.channel, topic.interval_ms) == (2, 77, "board", 100)


def test_a_change_is_made_once_for_all_of_a_format(world, source, topic) -> None:
    clients = [join(world, topic, format) for format in (JSON, JSON, MSGPACK, MSGPACK)]
    source.asked.clear()
    publish(world, source, topic)
    assert source.asked == [(JSON, 0), (MSGPACK, 0)]
    assert all(client.sink.take()[-2:] == [b"0:", b"1"] for client in clients)


def test_a_slow_member_gets_all_that_it_missed_at_once(world, source, topic) -> None:
    client = join(world, topic)
    client.sink.take()
    client.sink.drain(room=1)
    world.hub.send(client.sink, b"longer than the room")
    client.sink.take()
    assert client.sink.blocked
    for _ in range(3):
        publish(world, source, topic)
    assert client.sink.take() == []
    client.sink.drain()
    assert client.sink.take()[-2:] == [b"0:", b"3"]
    assert world.hub.stats()["conflated"] == 3


@pytest.mark.parametrize(
    ("resume", "resumed", "sent"),
    [
        ((77, 2), True, [b"2:", b"3"]),
        ((77, 3), True, []),
        ((77, 0), False, [b"None:", b"3"]),
        ((77, 4), False, [b"None:", b"3"]),
        ((78, 2), False, [b"None:", b"3"]),
    ],
)
def test_who_comes_back_goes_on_where_the_source_reaches(world, source, topic, resume, resumed, sent) -> None:
    for _ in range(3):
        publish(world, source, topic)
    source.oldest = 1
    client = join(world, topic, resume=resume)
    assert (client.resumed, client.sink.take()) == (resumed, [b"hello", *sent])
    publish(world, source, topic)
    assert client.sink.take() == [b"3:", b"4"]


@pytest.mark.parametrize(("from_seq", "first"), [(2, b"1:"), (0, b"None:"), (4, b"None:"), (1, b"None:")])
def test_recover_leads_on_from_a_number_or_sends_everything(world, source, topic, from_seq, first) -> None:
    client = join(world, topic)
    for _ in range(3):
        publish(world, source, topic)
    client.sink.take()
    source.oldest = 1
    world.hub.recover(client.sink, topic, from_seq)
    assert client.sink.take() == [first, b"3"]


def test_a_heartbeat_has_its_number(world, source, topic) -> None:
    client = join(world, topic)
    publish(world, source, topic)
    client.sink.take()
    world.after(40_000)
    beats = [message for message in client.read() if message["type"] == "heartbeat"]
    assert beats[-1]["seqs"] == [[topic.number, 1]]


def test_it_may_be_subscribed_to_again_and_goes_on(world, source, topic) -> None:
    client = join(world, topic)
    world.hub.unsubscribe(client.sink, topic)
    assert not topic.alive
    publish(world, source, topic)
    again = join(world, topic)
    assert topic.alive and again.sink.take()[-2:] == [b"None:", b"1"]
    with pytest.raises(ValueError, match="cannot go to 1"):
        world.hub.publish(topic, 1, 5)


def test_topics_of_20_ms_are_ticked_more_often(world) -> None:
    assert world.hub.tick_us == 50_000
    client = world.client()
    topic = world.topic("ticker", interval_ms=20)
    client.subscribe(topic)
    assert world.hub.tick_us == 10_000
    sent = []
    for step in range(1, 9):
        world.now += 10_000
        world.publish(world.feed.update({100: step}))
        world.tick()
        sent.append(len(client.read()))
    assert sum(sent) == 4 and max(sent) == 1
    world.hub.unsubscribe(client.sink, topic)
    assert world.hub.tick_us == 50_000


class HoldingSource(Source):
    """Brings those up to date by itself who lack more than it has."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[object, int]] = []

    def holds(self, sink: object, since: int) -> bool:
        if since >= self.oldest:
            return False
        self.held.append((sink, since))
        return True


@pytest.mark.parametrize("oldest", [0, 3])
def test_a_source_may_hold_a_slow_member_back_that_lacks_too_much(world, oldest) -> None:
    source = HoldingSource()
    topic = world.hub.compose("*", "events", 0, source, epoch=77)
    publish(world, source, topic)
    client, other = (join(world, topic, resume=(77, 1)) for _ in range(2))
    client.sink.drain(room=1)
    world.hub.send(client.sink, b"longer than the room")
    for _ in range(3):
        publish(world, source, topic)
    assert world.hub.position(client.sink, topic) == 1 and world.hub.position(other.sink, topic) == 4
    source.oldest = oldest
    client.sink.take()
    client.sink.drain()
    client.sink.take()
    publish(world, source, topic)
    assert other.sink.take()[-2:] == [b"4:", b"5"]
    if oldest <= 1:
        assert source.held == [] and client.sink.take() == [b"4:", b"5"]
        return
    assert source.held == [(client.sink, 1)] and client.sink.take() == []
    assert world.hub.position(client.sink, topic) == 1
    world.hub.unsubscribe(client.sink, topic)
    world.hub.subscribe(client.sink, topic, (77, 5))
    world.hub.catch_up(client.sink, topic)
    publish(world, source, topic)
    assert client.sink.take() == [b"5:", b"6"]
