"""Messages are lost and damaged: a client's book is right whenever it is trusted, and right at the end."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdstream.client.book import Book
from mdstream.client.protocol import Request
from mdstream.client.states import ConnectionState

CHANGES = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.integers(1, 6), st.integers(0, 3)), min_size=0, max_size=4
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("flow"), CHANGES),
        st.tuples(st.just("flow"), CHANGES),
        st.tuples(st.just("update"), CHANGES),
        st.tuples(st.just("deliver"), st.integers(1, 4)),
        st.tuples(st.just("lose"), CHANGES),
        st.tuples(st.just("damage"), CHANGES),
        st.tuples(st.just("obey"), st.just(0)),
        st.tuples(st.just("heartbeat"), st.just(0)),
        st.tuples(st.just("wait"), st.floats(0.0, 12.0)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    min_size=8,
    max_size=60,
)


class World:
    """A desk and a gateway with a bad connection; commands and messages wait until a step delivers them."""

    def __init__(self, desk: Any, gateway: Any) -> None:
        self.desk = desk
        self.gateway = gateway
        self.obeyed = 0
        self.book = Book(Request("book", "SIM:X", gateway.depth), desk.core)
        self.book.on_update(lambda update: self.check())
        self.desk.core.subscribe(self.book, desk.now)
        self.desk.connect()

    def check(self) -> None:
        if self.book.trusted:
            self.compare(self.gateway.history[self.book.epoch, self.book.seq])

    def compare(self, view: Any) -> None:
        assert list(map(tuple, self.book.bids.tolist())) == view[0]
        assert list(map(tuple, self.book.asks.tolist())) == view[1]

    # ---- steps

    def update(self, changes: Any) -> None:
        self.gateway.update(changes)

    def flow(self, changes: Any) -> None:
        """An update on a good connection."""
        self.update(changes)
        self.obey()
        self.deliver(len(self.gateway.outbox))

    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.gateway.outbox))):
            self.desk.say(self.gateway.outbox.popleft())
            self.check()

    def lose(self, changes: Any) -> None:
        """An update; the newest message is lost."""
        self.update(changes)
        if self.may_suffer():
            self.gateway.outbox.pop()

    def damage(self, changes: Any) -> None:
        """An update; a level of the newest message is damaged."""
        self.update(changes)
        if self.may_suffer():
            message = self.gateway.outbox[-1]
            side = 5 if message[5] else 6
            if message[side]:
                message[side] = [*message[side][:-1], message[side][-1] + 1]

    def may_suffer(self) -> bool:
        """Control messages always arrive, and so do snapshots of a new epoch, because deltas do not have an epoch."""
        message = self.gateway.outbox[-1] if self.gateway.outbox else None
        return isinstance(message, list) and message[0] in (1, 2) and message[-1] != "epoch"

    def obey(self, _: Any = None) -> None:
        for command in self.desk.sent[self.obeyed :]:
            self.gateway.obey(command)
        self.obeyed = len(self.desk.sent)

    def heartbeat(self, _: Any) -> None:
        self.gateway.heartbeat()

    def wait(self, seconds: float) -> None:
        self.desk.wait(seconds)
        if self.desk.hang_ups:
            self.relink()

    def cut(self, _: Any) -> None:
        self.desk.cut()
        self.relink()

    def restart(self, _: Any) -> None:
        self.gateway.restart()

    def relink(self) -> None:
        self.desk.hang_ups.clear()
        self.gateway.drop_link()
        self.obeyed = len(self.desk.sent)
        self.desk.wait(30)
        assert self.desk.core.state is ConnectionState.CONNECTING
        self.desk.connect()
        self.check()

    def settle(self) -> None:
        """From now on the connection is good: heartbeats and answers arrive."""
        for _ in range(12):
            self.obey()
            self.gateway.heartbeat()
            self.deliver(len(self.gateway.outbox))
            self.wait(12.0)
        assert self.book.trusted
        self.compare(self.gateway.view())
        assert (self.book.epoch, self.book.seq) == (self.gateway.epoch, self.gateway.seq)


@pytest.mark.parametrize("depth", [0, 3])
def test_a_trusted_book_is_the_gateways(make_desk, make_gateway, depth):
    trusted, recovered = 0, 0

    @settings(max_examples=settings().max_examples * 3 // 2, deadline=None)
    @given(STEPS, st.lists(st.floats(0.0, 0.999), min_size=1, max_size=5))
    def story(steps, draws):
        nonlocal trusted, recovered
        turn = iter(range(10**9))
        world = World(make_desk(random=lambda: draws[next(turn) % len(draws)]), make_gateway(depth))
        for step, argument in steps:
            getattr(world, step)(argument)
            world.check()
            trusted += world.book.trusted and len(world.book.bids) > 0
        world.settle()
        recovered += world.book.recoveries > 0

    story()
    assert trusted and recovered, "the runs must reach trusted books and recoveries"
