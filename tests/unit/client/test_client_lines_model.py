"""Two gateways end their updates at different numbers, lag, lose messages and connections: a book on both lines is always a true one.

The truth is a market in plain Python, which keeps the view at every number.
"""

from __future__ import annotations

import zlib
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdstream.client.book import BookUpdate
from mdstream.client.lined import BookLeg, LinedBook, LinedTrades, TradesLeg
from mdstream.client.policy import Policy
from mdstream.client.protocol import Request
from mdstream.client.states import Stats

Levels = dict[int, int]
View = tuple[Levels, Levels]
LINES = st.integers(0, 1)
CHANGES = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=4
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), CHANGES),
        st.tuples(st.just("update"), CHANGES),
        st.tuples(st.just("send"), LINES),
        st.tuples(st.just("send"), LINES),
        st.tuples(st.just("deliver"), LINES),
        st.tuples(st.just("deliver"), LINES),
        st.tuples(st.just("lose"), LINES),
        st.tuples(st.just("damage"), LINES),
        st.tuples(st.just("cut"), LINES),
        st.tuples(st.just("back"), LINES),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("wait"), st.floats(0.0, 12.0)),
    ),
    min_size=10,
    max_size=80,
)


class Market:
    def __init__(self, depth: int) -> None:
        self.depth, self.epoch, self.seq = depth, 1, 0
        self.sides: View = ({}, {})
        self.views: dict[tuple[int, int], View] = {}
        self.update([])

    def update(self, changes: list[tuple[int, int, int]]) -> None:
        for side, distance, lots in changes:
            ticks = 1000 + (distance if side else -distance)
            if lots:
                self.sides[side][ticks] = lots
            else:
                self.sides[side].pop(ticks, None)
        self.seq += 1
        bids = sorted(self.sides[0].items(), reverse=True)[: self.depth or None]
        asks = sorted(self.sides[1].items())[: self.depth or None]
        self.views[self.epoch, self.seq] = dict(bids), dict(asks)

    def restart(self) -> None:
        self.epoch, self.seq, self.sides = self.epoch + 1, 0, ({}, {})
        self.update([(0, 1, 1)])


class Gateway:
    """Sends what it has when it is told to: where its updates end is nobody else's affair."""

    SUB = 3

    def __init__(self, market: Market, desk: Any) -> None:
        self.market, self.desk = market, desk
        self.sent: tuple[int, int] | None = None
        self.obeyed = 0
        self.outbox: deque[Any] = deque()
        self.snapshots = 0

    def obey(self) -> None:
        commands, self.obeyed = self.desk.sent[self.obeyed :], len(self.desk.sent)
        for command in commands:
            if command["op"] == "subscribe":
                self._subscribe(command)
            elif command["op"] == "recover" and self.sent is not None:
                self._answer(command["from"] - 1)

    def _subscribe(self, command: Any) -> None:
        resume = command.get("resume", {}).get("SIM:X")
        resumed = resume is not None and resume[0] == self.market.epoch
        self.outbox.append({
            "type": "subscribed", "id": command["id"], "sub": self.SUB, "channel": "book", "instrument": "SIM:X",
            "price_exp": 0, "size_exp": 0, "resumed": resumed,
        })  # fmt: skip
        self.sent = tuple(resume) if resumed else (0, 0)
        self.send()

    def _answer(self, since: int) -> None:
        """With a snapshot now and then, also where a delta would do; and of a number that this epoch does not have."""
        at = self.market.epoch, since
        self.sent = at if at in self.market.views and since % 3 else (0, 0)
        self.send()

    def send(self) -> None:
        newest = self.market.epoch, self.market.seq
        if self.sent is None or self.sent == newest:
            return
        view = self.market.views[newest]
        if self.sent[0] != newest[0] or self.sent[1] == 0:
            self.snapshots += 1
            self.outbox.append([2, self.SUB, *newest, 1, *map(flat, view), crc(view), "subscribe"])
        else:
            old = self.market.views[self.sent]
            changes = [flat(changed(before, after)) for before, after in zip(old, view, strict=True)]
            self.outbox.append([1, self.SUB, self.sent[1] + 1, newest[1], 1, *changes, crc(view)])
        self.sent = newest

    def lose_data(self) -> None:
        """A delta: what comes after a lost snapshot says nothing of its epoch."""
        if self.outbox and isinstance(self.outbox[-1], list) and self.outbox[-1][0] == 1:
            self.outbox.pop()

    def damage_data(self) -> None:
        if self.outbox and isinstance(self.outbox[-1], list):
            self.outbox[-1][7] ^= 1

    def cut(self) -> None:
        self.sent = None
        self.outbox.clear()


def flat(levels: Levels) -> list[int]:
    return [number for level in levels.items() for number in level]


def changed(before: Levels, after: Levels) -> Levels:
    return {ticks: 0 for ticks in before if ticks not in after} | {
        ticks: lots for ticks, lots in after.items() if before.get(ticks) != lots
    }


def crc(view: View) -> int:
    sides = [list(side.items()) for side in view]
    numbers = [n for at in range(10) for side in sides for level in side[at : at + 1] for n in level]
    return zlib.crc32(":".join(map(str, numbers)).encode())


class FakeLink:
    def __init__(self) -> None:
        self.policy, self.stats, self.time = Policy(), Stats(), 0.0

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return 1.0

    def due(self, when: float) -> None: ...

    def send_recover(self, subscription: Any, from_seq: int) -> None:
        raise AssertionError("the legs recover")

    def unsubscribe(self, subscription: Any) -> None: ...


class World:
    """Everything waits until a step delivers it. A line that is cut stays so until ``back``."""

    def __init__(self, make_desk: Any, depth: int) -> None:
        self.market = Market(depth)
        self.link = FakeLink()
        self.book = LinedBook(Request("book", "SIM:X", depth), self.link)
        self.failure: BaseException | None = None
        """The client logs what an observer raises, and goes on."""
        self.book.on_update(self.observe)
        self.kept: View = ({}, {})
        """What a user has who knows nothing but the updates."""
        self.last: tuple[int, int] | None = None
        self.desks = [make_desk() for _ in range(2)]
        self.gateways = [Gateway(self.market, desk) for desk in self.desks]
        self.is_up = [True, True]
        for line, desk in enumerate(self.desks):
            leg = BookLeg(self.book.request, desk.core)
            leg.line = line
            self.book.set_leg(leg)
            desk.core.subscribe(leg, desk.now)
            desk.connect()

    def observe(self, update: BookUpdate) -> None:
        try:
            self.told(update)
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def told(self, update: BookUpdate) -> None:
        if update.kind == "snapshot":
            self.kept = ({}, {})
            assert self.last is None or self.last[0] < update.epoch or self.may_start_again, (
                "a needless snapshot"
            )
        else:
            assert (update.epoch, update.first - 1) == self.last, "a number twice, or left out"
        for side, levels in zip(self.kept, (update.flat_bids, update.flat_asks), strict=True):
            for ticks, lots in zip(levels[::2], levels[1::2], strict=True):
                side[ticks] = lots
                if not lots:
                    del side[ticks]
        assert self.last is None or (update.epoch, update.last) >= self.last, "it was taken back"
        self.last = update.epoch, update.last
        assert self.kept == self.market.views[self.last]
        self.compare()

    may_start_again = False

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.compare()

    def compare(self) -> None:
        if self.book.trusted:
            view = self.market.views[self.book.epoch, self.book.seq]
            assert (dict(self.book.bids.tolist()), dict(self.book.asks.tolist())) == view
            assert (self.book.epoch, self.book.seq) == self.last
            assert self.book.crc == crc(view)

    # ---- steps

    def update(self, changes: Any) -> None:
        self.market.update(changes)

    def send(self, line: int) -> None:
        self.gateways[line].obey()
        self.gateways[line].send()

    def deliver(self, line: int) -> None:
        self.gateways[line].obey()
        while self.gateways[line].outbox:
            self.desks[line].say(self.gateways[line].outbox.popleft())
            self.check()
            self.gateways[line].obey()

    def lose(self, line: int) -> None:
        self.gateways[line].lose_data()

    def damage(self, line: int) -> None:
        self.may_start_again = True
        self.gateways[line].damage_data()

    def cut(self, line: int) -> None:
        if self.is_up[line]:
            self.is_up[line] = False
            self.gateways[line].cut()
            self.desks[line].cut()
            self.check()

    def back(self, line: int) -> None:
        if not self.is_up[line]:
            self.is_up[line] = True
            self.desks[line].wait(20.0)
            self.gateways[line].obeyed = len(self.desks[line].sent)
            self.desks[line].connect()

    def restart(self, _: Any) -> None:
        self.market.restart()

    def wait(self, seconds: float) -> None:
        """No gateway is behind for so long: what it has is sent, and a heartbeat after it."""
        for line in (0, 1):
            if self.is_up[line]:
                self.send(line)
                self.deliver(line)
        self.link.time += seconds
        for line, desk in enumerate(self.desks):
            if self.is_up[line]:
                desk.say([5, 1, []])
                desk.wait(seconds)
                self.deliver(line)
        self.check()


@pytest.mark.parametrize("depth", [0, 2])
def test_book_on_two_lines_is_true_and_goes_on(make_desk: Any, depth: int) -> None:
    @settings(deadline=None)
    @given(STEPS)
    def run(steps: Any) -> None:
        world = World(make_desk, depth)
        for name, argument in steps:
            getattr(world, name)(argument)
        for line in (0, 1):
            world.back(line)
        for _ in range(4):
            world.wait(11.0)
            world.update([(0, 1, 2)])
            for line in (0, 1):
                world.send(line)
                world.deliver(line)
        assert world.book.state == "live"
        assert (world.book.epoch, world.book.seq) == (world.market.epoch, world.market.seq)

    run()


TRADE_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.integers(1, 3)),
        st.tuples(st.just("send"), LINES),
        st.tuples(st.just("send"), LINES),
        st.tuples(st.just("lose"), LINES),
        st.tuples(st.just("cut"), LINES),
        st.tuples(st.just("back"), LINES),
    ),
    min_size=10,
    max_size=60,
)


class Tape:
    """Trades on two lines, as the contract sends them: each line from its own place, ``lost`` where it can send some no more."""

    SUB = 4

    def __init__(self, make_desk: Any) -> None:
        self.newest = 0
        self.sent: list[int | None] = [None, None]
        self.gone: list[set[int]] = [set(), set()]
        self.desks = [make_desk() for _ in range(2)]
        self.obeyed = [0, 0]
        self.link = FakeLink()
        self.trades = LinedTrades(Request("trades", "SIM:X"), self.link)
        self.shown: list[int] = []
        self.lost: set[int] = set()
        self.trades.on_trade(lambda trade: self.shown.append(trade.seq))
        self.trades.on_lost(lambda first, last: self.lost.update(range(first, last + 1)))
        for line, desk in enumerate(self.desks):
            leg = TradesLeg(self.trades.request, desk.core)
            leg.line = line
            self.trades.set_leg(leg)
            desk.core.subscribe(leg, desk.now)
            desk.connect()

    def trade(self, count: int) -> None:
        self.newest += count

    def send(self, line: int) -> None:
        self._obey(line)
        sent = self.sent[line]
        if sent is None or sent == self.newest:
            return
        self.sent[line] = self.newest
        self._say(line, sent + 1)

    def _say(self, line: int, first: int) -> None:
        while first <= self.newest and first in self.gone[line]:
            self.desks[line].say({"type": "lost", "sub": self.SUB, "first": first, "last": first})
            first += 1
        rows = [[seq, 1, 100 + seq, 1, 1, seq] for seq in range(first, self.newest + 1)]
        if rows:
            self.desks[line].say([3, self.SUB, 1, first, self.newest, rows])

    def _obey(self, line: int) -> None:
        commands, self.obeyed[line] = self.desks[line].sent[self.obeyed[line] :], len(self.desks[line].sent)
        for command in commands:
            if command["op"] == "subscribe":
                resume = command.get("resume", {}).get("SIM:X")
                self.desks[line].say({
                    "type": "subscribed", "id": command["id"], "sub": self.SUB, "channel": "trades", "instrument": "SIM:X",
                    "price_exp": 0, "size_exp": 0, "resumed": resume is not None,
                })  # fmt: skip
                self.sent[line] = resume[1] if resume else self.newest
            elif command["op"] == "recover" and self.sent[line] is not None:
                self._say(line, command["from"])

    def lose(self, line: int) -> None:
        """Some trades that this line can never bring."""
        sent = self.sent[line]
        if sent is not None and sent < self.newest:
            self.gone[line].add(sent + 1)

    def cut(self, line: int) -> None:
        if self.sent[line] is not None:
            self.sent[line] = None
            self.desks[line].cut()

    def back(self, line: int) -> None:
        self._obey(line)
        if self.sent[line] is None:
            self.desks[line].wait(20.0)
            self.obeyed[line] = len(self.desks[line].sent)
            self.desks[line].connect()
            self._obey(line)


def test_each_trade_comes_once_from_whichever_line_has_it(make_desk: Any) -> None:
    @settings(deadline=None)
    @given(TRADE_STEPS)
    def run(steps: Any) -> None:
        tape = Tape(make_desk)
        tape.send(0)
        tape.send(1)
        tape.trade(1)
        for name, argument in steps:
            getattr(tape, name)(argument)
        for _ in range(3):
            for line in (0, 1):
                tape.back(line)
                tape.send(line)
            tape.trade(1)
        for line in (0, 1):
            tape.send(line)
        assert tape.shown == sorted(set(tape.shown)), "out of order, or twice"
        told = set(tape.shown) | tape.lost
        assert not set(tape.shown) & tape.lost
        assert told == set(range(min(told), tape.newest + 1)), "left out without a word"

    run()
