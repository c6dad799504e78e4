"""The budget of requests, and whose turn it is; time is the test's."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from mdstream.feeds.binance.budget import BURST, LIMIT_PER_MINUTE, PER_SECOND, Rank, Turns, WeightBudget

SNAPSHOT = 250


class Time:
    """A clock whose sleepers wake in order, and at once."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._count), woken))
        await woken.wait()

    async def run(self, work: asyncio.Future[Any]) -> None:
        while not work.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers and not work.done():
                self.now, _, woken = heapq.heappop(self._sleepers)
                woken.set()


def test_a_burst_then_a_steady_rate_within_the_venues_limit_in_every_minute() -> None:
    time = Time()
    budget = WeightBudget(clock=time)
    spent: list[float] = []
    while time.now < 700:
        delay_s = budget.wait_s(SNAPSHOT)
        if delay_s:
            time.now += delay_s
        else:
            budget.spend(SNAPSHOT)
            spent.append(time.now)
    assert spent.count(100.0) == BURST // SNAPSHOT
    for start in spent:
        assert sum(SNAPSHOT for at in spent if start <= at < start + 60) <= LIMIT_PER_MINUTE
    assert len(spent) * SNAPSHOT > 600 * PER_SECOND * 0.95


def test_nothing_is_asked_for_while_the_venue_refuses_us() -> None:
    time = Time()
    budget = WeightBudget(clock=time)
    budget.hold(30)
    budget.hold(5)
    assert budget.wait_s(1) == 30
    time.now += 29
    assert budget.wait_s(1) == pytest.approx(1)
    time.now += 1
    assert budget.wait_s(1) == 0


def test_what_others_have_used_by_the_venues_count_is_left_to_them() -> None:
    budget = WeightBudget(clock=Time())
    budget.tell_used(LIMIT_PER_MINUTE - 100)
    assert budget.wait_s(100) == 0
    assert budget.wait_s(SNAPSHOT) == pytest.approx(150 / PER_SECOND)
    budget.tell_used(0)
    assert budget.wait_s(SNAPSHOT) > 0, "the venue's minute begins again, ours does not"


def test_one_request_at_a_time_by_rank_and_age(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        time = Time()
        turns = Turns(WeightBudget(burst=SNAPSHOT, clock=time), sleep=time.sleep)
        order: list[tuple[str, float]] = []
        under_way = 0

        async def ask(name: str, rank: Rank) -> None:
            nonlocal under_way
            async with turns.turn(SNAPSHOT, rank):
                under_way += 1
                assert under_way == 1
                order.append((name, time.now))
                await asyncio.sleep(0)
                under_way -= 1

        names = [("edge", Rank.EDGE), ("a", Rank.LOST_BOOK), ("b", Rank.LOST_BOOK), ("info", Rank.INFO)]
        await time.run(asyncio.gather(*(ask(name, rank) for name, rank in names)))
        first, *later = [name for name, _ in order]
        assert first == "edge", "nobody else was there yet"
        assert later == ["info", "a", "b"]
        gaps = [b - a for (_, a), (_, b) in itertools.pairwise(order)]
        assert gaps == [pytest.approx(SNAPSHOT / PER_SECOND)] * 3

    run(scenario())


def test_one_who_no_longer_waits_holds_nobody_up(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        time = Time()
        turns = Turns(WeightBudget(burst=SNAPSHOT, clock=time), sleep=time.sleep)

        async def ask() -> None:
            async with turns.turn(SNAPSHOT, Rank.LOST_BOOK):
                pass

        await ask()
        first, second = asyncio.ensure_future(ask()), asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        first.cancel()
        await time.run(second)
        await asyncio.gather(first, return_exceptions=True)

    run(scenario())


def test_a_request_that_fails_gives_its_turn_back(run: Callable[..., Any]) -> None:
    async def scenario() -> None:
        time = Time()
        turns = Turns(WeightBudget(clock=time), sleep=time.sleep)
        with pytest.raises(OSError):
            async with turns.turn(1, Rank.INFO):
                raise OSError
        async with turns.turn(1, Rank.INFO):
            pass

    run(scenario())
