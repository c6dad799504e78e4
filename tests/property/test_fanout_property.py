"""Clients do anything and may be slow: the messages that they receive lead exactly to the book.

Two hubs get the same payloads in different batches. Clients subscribe to any view in either format, compressed or not, with or
without the sender; they block, drain, lose messages and recover, leave, and move to the other hub with `resume`. After every step
each message must follow the one before it, and the checksum of each book must be right. At the end every view must equal the feed's.
"""

from __future__ import annotations

from typing import Any

from doubles.memory_sink import MemorySender
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mdstream._core.fanout.hub import Hub
from support.fanout import PRICE_EXP, SIZE_EXP, Client, Feed, Subscription

BEST_BID, BEST_ASK = 100, 101
changes = st.dictionaries(st.integers(0, 14), st.integers(0, 3), max_size=6)
keys = st.one_of(
    st.fixed_dictionaries(
        {
            "channel": st.just("book"),
            "depth": st.sampled_from([0, 1, 3, 10]),
            "group": st.sampled_from([1, 1, 3]),
        }
    ),
    st.fixed_dictionaries({"channel": st.sampled_from(["trades", "ticker"])}),
)
Step = tuple[dict[int, int], dict[int, int], int, tuple[bool, bool]]
traffic = st.lists(
    st.tuples(changes, changes, st.sampled_from([0, 0, 1, 5]), st.tuples(st.booleans(), st.booleans())),
    min_size=1,
    max_size=8,
)
windows = st.sampled_from([0, 0, 9, 15])
rooms = st.one_of(st.just(-1), st.integers(0, 1500))
picks = st.integers(0, 1 << 16)


class Gateway:
    """A hub, the messages that still wait for it on the bus, and its clock."""

    def __init__(self, log_capacity: int) -> None:
        self.sender = MemorySender()
        self.hub = Hub(
            sender=self.sender,
            log_capacity=log_capacity,
            trade_capacity=8,
            heartbeat_us=400_000,
            slow_limit_us=10**12,
            compression_threshold_bytes=100,
        )
        self.instrument = self.hub.add_instrument("SIM:X", PRICE_EXP, SIZE_EXP)
        self.queue: list[tuple[str, bytes]] = []
        self.now = 10_000_000
        self.hub.tick(self.now)

    def client(self, format: int, room: int, window_bits: int, *, batched: bool) -> Client:
        return Client(self.hub, format, room, window_bits, self.sender if batched else None)

    def take(self, count: int) -> None:
        taken, self.queue = self.queue[:count], self.queue[count:]
        for stream, payload in taken:
            take = self.hub.take_book if stream == "book" else self.hub.take_trades
            take(self.instrument, payload)

    def flush(self) -> None:
        self.hub.flush(self.now)

    def tick(self, ms: int) -> None:
        for _ in range(0, ms, 50):
            self.now += 50_000
            self.hub.tick(self.now)


class Held:
    """A client's state at a message; losing all later deltas brings the client back to it."""

    def __init__(self, sub: Subscription) -> None:
        self.bids, self.asks, self.seq, self.base = dict(sub.bids), dict(sub.asks), sub.seq, sub.base()

    def restore(self, sub: Subscription) -> bool:
        if self.base != sub.base() or sub.recovering_from is not None:
            return False
        sub.bids, sub.asks, sub.seq = self.bids, self.asks, self.seq
        return True


class FanoutMachine(RuleBasedStateMachine):
    @initialize(small_log=st.booleans())
    def start(self, small_log: bool) -> None:
        self.feed = Feed()
        self.gateways = [Gateway(32 if small_log else 4096), Gateway(4096)]
        self.clients: list[tuple[Gateway, Client]] = []
        self.publish("book", self.feed.update({BEST_BID: 1}, {BEST_ASK: 1}))
        for gateway in self.gateways:
            gateway.take(1)
            gateway.flush()
        for format, gateway in enumerate(self.gateways):
            self.clients.append((gateway, gateway.client(format, -1, 15 * format, batched=format == 1)))
            for key in ({"channel": "book"}, {"channel": "book", "depth": 3}, {"channel": "trades"}):
                self.subscribe(format, key, 0)

    def publish(self, stream: str, payload: bytes) -> None:
        for gateway in self.gateways:
            gateway.queue.append((stream, payload))

    # ---- the feed

    @rule(steps=traffic)
    def flow(self, steps: list[Step]) -> None:
        """Updates and trades that each gateway reads in its own batches."""
        for bids, asks, trades, flushed in steps:
            self.update(bids, asks)
            for _ in range(trades):
                self.publish("trade", self.feed.trade(price=BEST_BID, size=trades))
            for gateway, flush in zip(self.gateways, flushed, strict=True):
                gateway.take(len(gateway.queue))
                if flush:
                    gateway.flush()

    @rule(bids=changes, asks=changes)
    def update(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        self.publish(
            "book",
            self.feed.update(
                {BEST_BID - offset: lots for offset, lots in bids.items()},
                {BEST_ASK + offset: lots for offset, lots in asks.items()},
            ),
        )

    @precondition(lambda self: self.feed.epoch < 4)
    @rule()
    def new_epoch(self) -> None:
        self.feed.restart()
        self.publish("book", self.feed.update({BEST_BID: 2}, {BEST_ASK: 3}))
        self.publish("trade", self.feed.trade())

    # ---- a gateway

    @rule(which=st.booleans(), count=st.integers(1, 9), flush=st.booleans())
    def deliver(self, which: bool, count: int, flush: bool) -> None:
        self.gateways[which].take(count)
        if flush:
            self.gateways[which].flush()

    @rule(which=st.booleans(), ms=st.sampled_from([50, 100, 500, 2200]))
    def time_passes(self, which: bool, ms: int) -> None:
        self.gateways[which].tick(ms)

    @rule(which=st.booleans())
    def starved(self, which: bool) -> None:
        """The bus lost what the gateway had not read. The gateway loads the newest snapshot, and the trades are lost."""
        gateway = self.gateways[which]
        gateway.queue.clear()
        gateway.hub.load_snap(gateway.instrument, self.feed.snap())
        gateway.hub.reset_trades(gateway.instrument, self.feed.epoch, self.feed.trade_seq)
        gateway.flush()

    # ---- clients

    @rule(
        which=st.booleans(), format=st.integers(0, 1), room=rooms, window_bits=windows, batched=st.booleans()
    )
    def connect(self, which: bool, format: int, room: int, window_bits: int, batched: bool) -> None:
        if len(self.clients) < 6:
            gateway = self.gateways[which]
            self.clients.append((gateway, gateway.client(format, room, window_bits, batched=batched)))

    @precondition(lambda self: self.clients)
    @rule(pick=picks, key=keys, interval_ms=st.sampled_from([0, 0, 100, 1000]))
    def subscribe(self, pick: int, key: dict[str, Any], interval_ms: int) -> None:
        gateway, client = self.clients[pick % len(self.clients)]
        topic = gateway.hub.topic(gateway.instrument, interval_ms=interval_ms, **key)
        if gateway.hub.find(client.sink, topic.number) is None:
            client.subscribe(topic)

    @precondition(lambda self: self.clients)
    @rule(pick=picks)
    def unsubscribe(self, pick: int) -> None:
        gateway, client = self.clients[pick % len(self.clients)]
        for number, sub in list(client.subs.items())[:1]:
            assert gateway.hub.unsubscribe(client.sink, sub.topic)
            del client.subs[number]

    @precondition(lambda self: self.clients)
    @rule(pick=picks, room=rooms)
    def drain(self, pick: int, room: int) -> None:
        _, client = self.clients[pick % len(self.clients)]
        client.sink.drain(room)
        client.read()

    @precondition(lambda self: self.clients)
    @rule(pick=picks, steps=traffic)
    def lose_and_recover(self, pick: int, steps: list[Step]) -> None:
        """A book loses the messages of some traffic. If a snapshot is among them, nothing is lost."""
        client, sub = self.pick_book(pick)
        if sub is None or not sub.has_view:
            return
        held = Held(sub)
        self.flow(steps)
        client.read()
        if held.restore(sub):
            client.recover(sub.topic, sub.seq + 1)

    @precondition(lambda self: self.clients)
    @rule(pick=picks, steps=traffic, room=rooms)
    def stop_reading_for_a_while(self, pick: int, steps: list[Step], room: int) -> None:
        _, client = self.clients[pick % len(self.clients)]
        client.sink.drain(0)
        self.flow(steps)
        client.read()
        client.sink.drain(room)
        client.read()

    @precondition(lambda self: self.clients)
    @rule(pick=picks, zero=st.booleans())
    def recover_view(self, pick: int, zero: bool) -> None:
        client, sub = self.pick_book(pick)
        if sub is not None and sub.has_view:
            client.recover(sub.topic, 0 if zero else sub.seq + 10**6)

    def pick_book(self, pick: int) -> tuple[Client, Subscription | None]:
        _, client = self.clients[pick % len(self.clients)]
        books = [sub for sub in client.subs.values() if sub.topic.channel == "book"]
        return client, books[pick % len(books)] if books else None

    @precondition(lambda self: self.clients)
    @rule(pick=picks, room=rooms, format=st.integers(0, 1), window_bits=windows, batched=st.booleans())
    def move(self, pick: int, room: int, format: int, window_bits: int, batched: bool) -> None:
        """Moves a client to the other gateway with ``resume`` for every subscription. A client without data cannot move."""
        index = pick % len(self.clients)
        gateway, client = self.clients[index]
        other = self.gateways[gateway is self.gateways[0]]
        client.sink.close()
        moved = other.client(format, room, window_bits, batched=batched)
        for sub in client.subs.values():
            old = sub.topic
            topic = other.hub.topic(other.instrument, old.channel, old.depth, old.group, old.interval_ms)
            known = sub.epoch and (sub.has_view or old.channel == "trades") and sub.recovering_from is None
            moved.subscribe(topic, resume=sub if known else None)
        self.clients[index] = (other, moved)

    # ---- checks

    @invariant()
    def every_message_follows_the_one_before(self) -> None:
        for _, client in getattr(self, "clients", ()):
            client.read()

    def teardown(self) -> None:
        if not hasattr(self, "gateways"):
            return
        for gateway in self.gateways:
            gateway.take(len(gateway.queue))
            gateway.flush()
        for _, client in self.clients:
            client.sink.drain()
        for gateway in self.gateways:
            gateway.tick(3000)
        for gateway, client in self.clients:
            client.read()
            for sub in client.subs.values():
                self.check_end(gateway, sub)
        for _, client in self.clients:
            client.sink.close()
        for gateway in self.gateways:
            stats = gateway.hub.stats()
            assert (stats["topics"], stats["subscriptions"], stats["sinks"], stats["slow_sinks"]) == (
                0,
                0,
                0,
                0,
            )

    def check_end(self, gateway: Gateway, sub: Subscription) -> None:
        topic = sub.topic
        if topic.channel == "book":
            assert sub.recovering_from is None, "a recover was not answered"
            assert (sub.bids, sub.asks) == self.feed.view(topic.depth, topic.group)
            assert (sub.epoch, sub.seq) == (self.feed.epoch, topic.seq)
        elif topic.channel == "trades":
            assert sub.seq == self.feed.trade_seq or sub.epoch != gateway.instrument.trades.epoch
            seqs = [trade[0] for trade in sub.trades]
            assert len(sub.trades) == len(set(sub.trades)), "a trade came twice"
            assert sub.epoch != self.feed.epoch or seqs[-1:] in ([], [sub.seq]) or sub.lost
        else:
            best = [side[:1] for side in (sorted(self.feed.bids, reverse=True), sorted(self.feed.asks))]
            assert [[] if q is None else [q[0]] for q in (sub.ticker["bid"], sub.ticker["ask"])] == best


FanoutMachine.TestCase.settings = settings(
    max_examples=settings().max_examples * 3 // 5,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestFanout = FanoutMachine.TestCase
