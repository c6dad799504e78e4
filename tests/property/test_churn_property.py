"""Clients subscribe and leave in any order: each message goes once to exactly the subscribers, and topics stay dense."""

from __future__ import annotations

from doubles.memory_sink import MemorySender, MemorySink
from hypothesis import given, settings
from hypothesis import strategies as st

from mdstream._core.fanout.hub import Hub
from support.fanout import JSON, MSGPACK, PRICE_EXP, SIZE_EXP, Feed, decode_json, decode_msgpack

TOPICS, SINKS = 4, 9
NOW = 1_000_000_000
BYTES = 96  # bytes of a subscription, in topic and sink together

operations = st.lists(
    st.one_of(
        st.tuples(st.just("toggle"), st.integers(0, SINKS - 1), st.integers(0, TOPICS - 1)),
        st.tuples(st.just("block"), st.integers(0, SINKS - 1), st.none()),
        st.tuples(st.just("drain"), st.integers(0, SINKS - 1), st.none()),
        st.tuples(st.just("close"), st.integers(0, SINKS - 1), st.none()),
        st.tuples(st.just("publish"), st.none(), st.integers(0, TOPICS - 1)),
    ),
    max_size=120,
)


class Churn:
    def __init__(self) -> None:
        self.sender = MemorySender()
        self.hub = Hub(sender=self.sender)
        self.hub.tick(NOW)
        self.instruments = [self.hub.add_instrument(f"SIM:{i}", PRICE_EXP, SIZE_EXP) for i in range(TOPICS)]
        self.feeds = [Feed() for _ in range(TOPICS)]
        for which in range(TOPICS):
            self.publish(which)
        self.sinks = [self.sink(i) for i in range(SINKS)]
        self.subscribed: list[set[int]] = [set() for _ in range(SINKS)]

    def sink(self, i: int) -> MemorySink:
        sink = MemorySink(MSGPACK if i % 2 else JSON)
        if i % 3:
            self.sender.add(sink)
        return sink

    def publish(self, which: int) -> None:
        feed = self.feeds[which]
        self.hub.take_book(self.instruments[which], feed.update({100: feed.seq + 1}, {101: feed.seq + 1}))
        self.hub.flush(NOW)

    def topic(self, which: int):
        return self.hub.topic(self.instruments[which], "book")

    def toggle(self, i: int, which: int) -> None:
        sink, topic = self.sinks[i], self.topic(which)
        if which in self.subscribed[i]:
            assert self.hub.unsubscribe(sink, topic)
            self.subscribed[i].remove(which)
        else:
            self.hub.subscribe(sink, topic)
            self.hub.catch_up(sink, topic)
            self.subscribed[i].add(which)

    def block(self, i: int) -> None:
        self.sinks[i].drain(room=1)
        self.hub.send(self.sinks[i], b'{"type":"pong"}' if i % 2 == 0 else b"\x81\xa4type\xa4pong")

    def drain(self, i: int) -> None:
        self.sinks[i].drain()

    def close(self, i: int) -> None:
        self.sinks[i].close()
        self.sinks[i], self.subscribed[i] = self.sink(i), set()

    def read(self, i: int) -> list[tuple[str, int]]:
        decode = decode_msgpack if i % 2 else decode_json
        messages = [message for payload in self.sinks[i].take() for message in decode(payload)]
        return [(message["type"], message["sub"]) for message in messages if "sub" in message]

    def check(self) -> None:
        """One more update of every instrument reaches each of its subscribers, and no other client."""
        for i in range(SINKS):
            self.sinks[i].drain()
            self.read(i)
        numbers = {}
        for which in range(TOPICS):
            subscribers = sum(which in subscribed for subscribed in self.subscribed)
            topic = self.topic(which)
            assert topic.subscribers == subscribers
            numbers[which] = topic.number
            self.publish(which)
        for i, subscribed in enumerate(self.subscribed):
            assert sorted(self.read(i)) == sorted(("delta", numbers[which]) for which in subscribed)
        topics = [self.topic(which) for which in range(TOPICS)]
        count = sum(map(len, self.subscribed))
        assert self.hub.stats()["subscriptions"] == count
        assert sum(one.subscription_bytes for one in [*topics, *self.sinks]) <= BYTES * count


@settings(max_examples=settings().max_examples * 3 // 2, deadline=None)
@given(operations)
def test_topics_stay_dense_under_churn(steps):
    churn = Churn()
    for name, i, which in steps:
        arguments = [argument for argument in (i, which) if argument is not None]
        getattr(churn, name)(*arguments)
    churn.check()
