"""The compiled book equals a pair of dictionaries, for any updates, refusals, log, view and pair of numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mdstream._core.orderbook.book import Book
from mdstream.errors import BookError
from mdstream.model import MAX_NUMBER

Side = dict[int, int]
Flat = list[int]


def flat(levels: Side, sign: int) -> Flat:
    """Best first: bids (sign 1) fall, asks (sign -1) rise."""
    return [number for ticks in sorted(levels, reverse=sign > 0) for number in (ticks, levels[ticks])]


def pairs(levels: Flat) -> list[tuple[int, int]]:
    return list(zip(levels[::2], levels[1::2], strict=True))


def cut(levels: Side, sign: int, depth: int, group: int) -> Flat:
    """The view of one side by the contract."""
    buckets: Side = {}
    for ticks, lots in levels.items():
        bucket = ticks // group * group if sign > 0 else -(-ticks // group) * group
        bucket = max(-MAX_NUMBER, min(MAX_NUMBER, bucket))
        buckets[bucket] = min(MAX_NUMBER, buckets.get(bucket, 0) + lots)
    view = flat(buckets, sign)
    return view[: 2 * depth] if depth else view


def patched(view: Flat, changes: Flat) -> Side:
    """A client's side after a delta; each level of the delta must be a change."""
    levels = dict(pairs(view))
    for ticks, lots in pairs(changes):
        assert levels.get(ticks, 0) != lots, "a delta names a level that does not change"
        if lots:
            levels[ticks] = lots
        else:
            del levels[ticks]
    assert len({ticks for ticks, _ in pairs(changes)}) == len(pairs(changes)), "a delta names a level twice"
    return levels


@dataclass
class Model:
    bids: Side = field(default_factory=dict)
    asks: Side = field(default_factory=dict)

    def after(self, bids: Flat, asks: Flat) -> tuple[Model, int]:
        """The model after an update, and how many entries changed a level."""
        new = Model(dict(self.bids), dict(self.asks))
        changes = 0
        for levels, update in ((new.bids, bids), (new.asks, asks)):
            for ticks, lots in pairs(update):
                changes += levels.get(ticks, 0) != lots
                levels[ticks] = lots
                if not lots:
                    del levels[ticks]
        return new, changes

    @property
    def crossed(self) -> bool:
        return bool(self.bids and self.asks and max(self.bids) >= min(self.asks))

    def view(self, depth: int = 0, group: int = 1) -> tuple[Flat, Flat]:
        return cut(self.bids, 1, depth, group), cut(self.asks, -1, depth, group)


near = st.integers(-12, 12)
extreme = st.sampled_from([-MAX_NUMBER, -MAX_NUMBER + 1, MAX_NUMBER - 1, MAX_NUMBER])
beyond = st.sampled_from([-(2**63), -MAX_NUMBER - 1, MAX_NUMBER + 1, 2**63 - 1])
sizes = st.one_of(st.just(0), st.integers(0, 3), st.sampled_from([MAX_NUMBER - 1, MAX_NUMBER]))


def entries(
    ticks: st.SearchStrategy[int], lots: st.SearchStrategy[int], most: int = 12
) -> st.SearchStrategy[Flat]:
    return st.lists(st.tuples(ticks, lots), max_size=most).map(
        lambda items: [n for item in items for n in item]
    )


depths = st.sampled_from([0, 0, 1, 2, 3, 5, 100])
groups = st.sampled_from([1, 1, 2, 3, 10, 1000, MAX_NUMBER])


class BookMachine(RuleBasedStateMachine):
    """``past`` has the model at the number of each update, ``logged`` those that the log may have."""

    @initialize(
        log_capacity=st.sampled_from([1, 2, 7, 64, 65, 16384]),
        max_levels=st.sampled_from([3, 20, 65536]),
        spread=st.integers(-3, 3),
    )
    def begin(self, log_capacity: int, max_levels: int, spread: int) -> None:
        self.book = Book("SIM:X", log_capacity=log_capacity, max_levels=max_levels)
        self.log_capacity, self.max_levels, self.spread = log_capacity, max_levels, spread
        self._restart(Model(), 0)

    def _restart(self, model: Model, seq: int) -> None:
        self.past: dict[int, Model] = {seq: model}
        self.logged: deque[tuple[int, int]] = deque()
        self.floor = self.seq = seq

    @property
    def now(self) -> Model:
        return self.past[self.seq]

    @property
    def reachable(self) -> list[int]:
        return [self.floor, *(last for last, _ in self.logged)]

    def _log(self, last: int, changes: int) -> None:
        if changes > self.log_capacity:
            self.logged.clear()
            self.floor = last
            return
        entries = max(changes, 1)  # an update without changes counts too
        room = self.log_capacity - entries
        if sum(count for _, count in self.logged) > room:
            room = max(room - self.log_capacity // 64, 0)  # the log may drop a little more at once
            while sum(count for _, count in self.logged) > room:
                self.floor = self.logged.popleft()[0]
        self.logged.append((last, entries))

    def _everything(self) -> list[Any]:
        return [
            self.book.view(),
            self.book.seq,
            self.book.ts_us,
            [self.book.delta(number) for number in self.past],
        ]

    # ---- writing

    @rule(
        span=st.integers(1, 3),
        overlap=st.integers(0, 2),
        bids=entries(near, sizes),
        asks=entries(near, sizes),
        apart=st.integers(0, 25),
    )
    def update(self, span: int, overlap: int, bids: Flat, asks: Flat, apart: int) -> None:
        """Usually a few levels near the touch; ``apart`` sets how likely the sides are to cross."""
        bids = [number - apart // 2 if i % 2 == 0 else number for i, number in enumerate(bids)]
        asks = [number + apart // 2 if i % 2 == 0 else number for i, number in enumerate(asks)]
        self._apply(self.seq + 1 - overlap, self.seq + span, bids, asks)

    @rule(bids=entries(extreme, sizes, 2), asks=entries(extreme, sizes, 2))
    def update_at_the_extremes(self, bids: Flat, asks: Flat) -> None:
        self._apply(self.seq + 1, self.seq + 1, bids, asks)

    @rule(
        bids=entries(near, st.integers(0, 1), 40),
        asks=entries(near, st.integers(0, 1), 40),
        shift=st.integers(0, 25),
    )
    def greater_update(self, bids: Flat, asks: Flat, shift: int) -> None:
        asks = [number + shift if i % 2 == 0 else number for i, number in enumerate(asks)]
        self._apply(self.seq + 1, self.seq + 1, bids, asks)

    def _apply(self, first: int, last: int, bids: Flat, asks: Flat) -> None:
        first = max(first, 0)
        after, changes = self.now.after(bids, asks)
        refused = (
            after.crossed
            or max(len(after.bids), len(after.asks)) > self.max_levels
            or max(len(bids), len(asks)) > 4 * self.max_levels
        )
        if refused:
            before = self._everything()
            with pytest.raises(BookError, match=rf"^SIM:X update {first}\.\.{last}"):
                self.book.apply(first, last, last, bids, asks)
            assert self._everything() == before
            note("refused")
            return
        self.book.apply(first, last, last, bids, asks)
        self.seq = last
        self.past[last] = after
        self._log(last, changes)

    @rule(
        bids=entries(near, sizes, 5),
        asks=entries(near, sizes, 5),
        bad=st.tuples(near, beyond) | st.tuples(beyond, st.just(1)) | st.tuples(near, st.just(-1)),
        is_bid=st.booleans(),
    )
    def update_out_of_range(self, bids: Flat, asks: Flat, bad: tuple[int, int], is_bid: bool) -> None:
        (bids if is_bid else asks).extend(bad)
        before = self._everything()
        with pytest.raises(
            BookError, match=f"{'bid' if is_bid else 'ask'} .* is {bad[0]} ticks, {bad[1]} lots|too many"
        ):
            self.book.apply(self.seq + 1, self.seq + 1, 0, bids, asks)
        assert self._everything() == before

    @rule(
        seq=st.integers(0, 50),
        bids=st.dictionaries(near, st.integers(1, 9)),
        asks=st.dictionaries(near, st.integers(1, 9)),
    )
    def load(self, seq: int, bids: Side, asks: Side) -> None:
        model = Model(bids, asks)
        if model.crossed or max(len(bids), len(asks)) > self.max_levels:
            before = self._everything()
            with pytest.raises(BookError, match=f"^SIM:X snapshot {seq}"):
                self.book.load(1, seq, seq, *model.view())
            assert self._everything() == before
            return
        self.book.load(1, seq, seq, *model.view())
        self._restart(model, seq)

    @rule()
    def reset(self) -> None:
        self.book.reset(self.book.epoch + 1)
        self._restart(Model(), 0)

    # ---- reading

    @rule(data=st.data(), depth=depths, group=groups)
    def view_of_the_past(self, data: st.DataObject, depth: int, group: int) -> None:
        at = data.draw(st.sampled_from(self.reachable))
        assert self.book.view(depth=depth, group=group, at=at) == self.past[at].view(depth, group)

    @rule(data=st.data(), depth=depths, group=groups)
    def snapshot_and_delta_are_the_book(self, data: st.DataObject, depth: int, group: int) -> None:
        since, until = sorted(
            (data.draw(st.sampled_from(self.reachable)), data.draw(st.sampled_from(self.reachable)))
        )
        delta = self.book.delta(since, until, depth=depth, group=group)
        assert delta is not None
        for before, changes, after in zip(
            self.past[since].view(depth, group), delta, self.past[until].view(depth, group), strict=True
        ):
            assert patched(before, changes) == dict(pairs(after))

    @rule(data=st.data(), depth=depths)
    @precondition(lambda self: len(self.reachable) > 2)
    def any_cuts_conflate_to_the_same(self, data: st.DataObject, depth: int) -> None:
        """A client that gets the changes in any parts has the same book as one that gets them at once."""
        stops = sorted(data.draw(st.sets(st.sampled_from(self.reachable), min_size=2, max_size=6)))
        sides = [dict(pairs(side)) for side in self.past[stops[0]].view(depth)]
        for since, until in pairwise(stops):
            delta = self.book.delta(since, until, depth=depth)
            assert delta is not None
            sides = [
                patched(flat(side, sign), part)
                for side, part, sign in zip(sides, delta, (1, -1), strict=True)
            ]
        assert (flat(sides[0], 1), flat(sides[1], -1)) == self.past[stops[-1]].view(depth)

    @rule(number=st.integers(0, 400))
    def only_what_the_log_holds_is_reached(self, number: int) -> None:
        reached = number in self.reachable
        assert self.book.keeps(number) is reached
        assert (self.book.view(at=number) is not None) is reached
        assert (self.book.delta(number) is not None) is (reached and number <= self.seq)

    @rule(bids=st.dictionaries(near, st.integers(1, 9)), asks=st.dictionaries(near, st.integers(1, 9)))
    def diff_to_any_book(self, bids: Side, asks: Side) -> None:
        target = Model(bids, asks)
        if target.crossed or max(len(bids), len(asks)) > self.max_levels:
            return
        changes = self.book.diff_to(*target.view())
        for before, part, after in zip(self.now.view(), changes, target.view(), strict=True):
            assert patched(before, part) == dict(pairs(after))
        assert changes[0][::2] == sorted(changes[0][::2], reverse=True), "bids are not best first"
        assert changes[1][::2] == sorted(changes[1][::2]), "asks are not best first"

    @invariant()
    def book_is_the_model(self) -> None:
        model = self.now
        assert self.book.view() == model.view()
        assert self.book.seq == self.seq
        assert len(self.book) == len(model.bids) + len(model.asks)
        best_bid, best_ask = self.book.best()
        assert best_bid == next(iter(pairs(model.view()[0])), None)
        assert best_ask == next(iter(pairs(model.view()[1])), None)
        for ticks in range(-3, 4):
            assert self.book.level(1, ticks) == model.bids.get(ticks, 0)
            assert self.book.level(2, ticks) == model.asks.get(ticks, 0)

    @invariant()
    def log_reaches_what_it_should(self) -> None:
        assert all(self.book.keeps(number) for number in self.reachable)
        assert not any(self.book.keeps(number) for number in self.past.keys() - set(self.reachable))


TestBookMachine = BookMachine.TestCase
TestBookMachine.settings = settings(
    max_examples=settings().max_examples * 3 // 2, stateful_step_count=40, deadline=None
)
