"""A book at number 0 is not known yet: nobody is shown it, neither as a book nor as a ticker."""

from __future__ import annotations

import pytest

from mdstream._core.fanout.hub import Hub
from support.fanout import FORMATS, JSON, PRICE_EXP, SIZE_EXP, Client, Feed

VIEWS = pytest.mark.parametrize(
    "view",
    [
        {"depth": 0},
        {"depth": 2},
        {"depth": 1, "group": 5},
        {"depth": 0, "interval_ms": 100},
        {"depth": 2, "interval_ms": 100},
        {"channel": "ticker"},
        {"channel": "ticker", "interval_ms": 100},
    ],
    ids=str,
)


class Empty:
    """A hub whose only instrument has no book yet."""

    def __init__(self, *, opened: bool = True) -> None:
        self.hub = Hub()
        self.instrument = self.hub.add_instrument("SIM:X", PRICE_EXP, SIZE_EXP)
        self.feed = Feed()
        self.now = 1_000_000_000
        self.hub.tick(self.now)
        if opened:
            self.load()

    def load(self) -> None:
        """The writer's opening snapshot, at number 0."""
        self.hub.load_snap(self.instrument, self.feed.snap())
        self.hub.flush(self.now)

    def client(self, format: int = JSON) -> Client:
        return Client(self.hub, format)

    def topic(self, channel: str = "book", **view: int):
        return self.hub.topic(self.instrument, channel, **view)

    def publish(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.hub.take_book(self.instrument, payload)
        self.hub.flush(self.now)

    def after(self, ms: int) -> None:
        for _ in range(0, ms, 50):
            self.now += 50_000
            self.hub.tick(self.now)


@FORMATS
@VIEWS
@pytest.mark.parametrize("opened", [True, False], ids=["opening snapshot", "reference data alone"])
def test_nothing_is_shown_until_number_1(format, view, opened):
    empty = Empty(opened=opened)
    client = empty.client(format)
    topic = empty.topic(**view)
    sub = client.subscribe(topic)
    client.recover(topic, 0)
    empty.after(3000)
    client.read()
    assert [m["type"] for m in sub.messages] == []

    empty.publish(empty.feed.update({100: 5}, {101: 4}))
    empty.after(100)
    client.read()

    assert [(m["type"], m["seq"]) for m in sub.messages] == [
        (sub.topic.channel.replace("book", "snapshot"), 1)
    ]
    empty.publish(empty.feed.update({100: 6}))
    empty.after(200)
    client.read()
    assert (len(sub.messages), sub.seq) == (2, 2)


@VIEWS
def test_a_book_that_is_truly_empty_has_number_1(view):
    empty = Empty()
    client, late = empty.client(), empty.client()
    sub = client.subscribe(empty.topic(**view))

    empty.publish(empty.feed.update())
    empty.after(100)
    client.read()

    assert (len(sub.messages), sub.seq) == (1, 1)
    assert late.subscribe(empty.topic(**view)).seq == 1


@VIEWS
def test_a_new_epoch_at_0_leaves_the_old_view_until_its_number_1(view):
    empty = Empty()
    client, late = empty.client(), empty.client()
    sub = client.subscribe(empty.topic(**view))
    empty.publish(empty.feed.update({100: 5}, {101: 4}))
    empty.after(100)
    client.read()
    before = len(sub.messages)

    empty.feed.restart()
    empty.load()
    empty.after(200)
    client.read()
    newcomer = late.subscribe(empty.topic(**view))
    assert (len(sub.messages), len(newcomer.messages), sub.epoch) == (before, 0, 1)

    empty.publish(empty.feed.update({90: 5}, {91: 4}))
    empty.after(200)
    for each in (client, late):
        each.read()
    assert [(s.epoch, s.seq) for s in (sub, newcomer)] == [(2, 1), (2, 1)]
    if sub.topic.channel == "book":
        assert sub.messages[-1]["reason"] == "epoch"
        assert newcomer.messages[0]["reason"] == "subscribe"
        assert (sub.bids, sub.asks) == empty.feed.view(sub.topic.depth, sub.topic.group)


def test_trades_do_not_wait_for_a_book():
    empty = Empty()
    client = empty.client()
    sub = client.subscribe(empty.topic("trades"))
    ticker = client.subscribe(empty.topic("ticker"))

    empty.hub.take_trades(empty.instrument, empty.feed.trade())
    empty.hub.flush(empty.now)
    client.read()

    assert (len(sub.trades), ticker.messages) == (1, [])


def test_a_resume_at_0_is_none():
    empty = Empty()
    client = empty.client()
    assert client.hub.subscribe(client.sink, empty.topic(), (1, 0)) is False


def test_a_resume_ahead_waits_and_then_gets_the_first_snapshot():
    empty = Empty()
    client = empty.client()
    topic = empty.topic()
    assert client.hub.subscribe(client.sink, topic, (1, 5)) is True
    client.hub.catch_up(client.sink, topic)

    empty.after(2500)
    assert client.sink.take() == []
    empty.publish(empty.feed.update({100: 5}))

    assert b'"type":"snapshot"' in client.sink.take()[0]


@VIEWS
@pytest.mark.parametrize("known", [True, False], ids=["number 1", "still 0"])
def test_a_slow_sink_is_shown_nothing_before_number_1_either(view, known):
    empty = Empty()
    slow = Client(empty.hub, JSON, 1)
    sub = slow.subscribe(empty.topic(**view))
    empty.hub.send(slow.sink, b'{"type":"pong"}')
    assert slow.sink.blocked
    if known:
        empty.publish(empty.feed.update({100: 5}, {101: 4}))
        empty.after(200)
    slow.sink.drain()
    shown = [m for m in slow.read() if "seq" in m]
    assert len(shown) == known
    if not known:
        empty.publish(empty.feed.update({100: 5}, {101: 4}))
        empty.after(200)
    slow.read()
    empty.publish(empty.feed.update({100: 6}))
    empty.after(200)
    slow.read()
    assert sub.seq == 2
