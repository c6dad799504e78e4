"""The pace of flushes, on a clock and a loop that do as they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mdstream.bus.pace import ENOUGH, Pace


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """Time, the loop's callbacks, and a flush that takes ``cost_s``."""

    def __init__(self) -> None:
        self.time = 100.0
        self.cost_s = 0.0
        self.flushes: list[float] = []
        self.waiting: list[tuple[float, Callable[[], None], Handle]] = []

    def clock(self) -> float:
        return self.time

    def flush(self) -> None:
        self.flushes.append(self.time)
        self.time += self.cost_s

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        handle = Handle()
        self.waiting.append((self.time + delay, callback, handle))
        return handle

    def call_soon(self, callback: Callable[[], None]) -> Handle:
        return self.call_later(0.0, callback)

    def pass_time(self, seconds: float) -> None:
        end = self.time + seconds
        while self.waiting and self.waiting[0][0] <= end:
            at, callback, handle = self.waiting.pop(0)
            self.time = max(self.time, at)
            if not handle.cancelled:
                callback()
        self.time = max(self.time, end)


@pytest.fixture
def world() -> World:
    return World()


def pace(world: World, most_s: float = 0.005) -> Pace:
    loop: Any = world
    return Pace(world.flush, most_s, loop, world.clock)


def test_while_flushes_are_short_none_waits(world: World) -> None:
    world.cost_s = 0.0002
    paced = pace(world)
    for _ in range(5):
        paced.now()
    assert len(world.flushes) == 5 and not world.waiting


def hold_up(paced: Pace) -> None:
    """Flushes that each find the next update waiting, until the next one is worth a rest."""
    for _ in range(ENOUGH):
        paced.now()


def test_a_hiccup_costs_nobody_a_rest(world: World) -> None:
    world.cost_s = 0.004
    paced = pace(world)
    for _ in range(5):
        hold_up(paced)
        world.pass_time(0.001)
    assert len(world.flushes) == 5 * ENOUGH and not world.waiting


def test_while_each_finds_more_waiting_the_next_waits_half_as_long_and_takes_all_that_came(
    world: World,
) -> None:
    world.cost_s = 0.004
    paced = pace(world)
    hold_up(paced)
    for expected in range(ENOUGH + 1, ENOUGH + 5):
        ended = world.time
        for _ in range(3):
            paced.now()
            paced.soon()
        world.pass_time(0.002)
        assert len(world.flushes) == expected
        assert world.flushes[-1] == pytest.approx(ended + 0.002)


def test_a_rest_in_which_nothing_came_is_not_repeated(world: World) -> None:
    world.cost_s = 0.004
    paced = pace(world)
    hold_up(paced)
    paced.now()
    world.pass_time(0.002)
    assert len(world.flushes) == ENOUGH + 1
    paced.now()
    assert len(world.flushes) == ENOUGH + 2 and not world.waiting


def test_a_rest_is_bounded(world: World) -> None:
    world.cost_s = 0.1
    paced = pace(world)
    hold_up(paced)
    ended = world.time
    paced.now()
    world.pass_time(0.005)
    assert world.flushes[ENOUGH:] == [pytest.approx(ended + 0.005)]


def test_without_a_bound_none_waits(world: World) -> None:
    world.cost_s = 0.1
    paced = pace(world, most_s=0)
    hold_up(paced)
    paced.now()
    assert len(world.flushes) == ENOUGH + 1


def test_what_may_be_followed_by_more_is_flushed_at_the_end_of_the_turn(world: World) -> None:
    paced = pace(world)
    paced.soon()
    paced.soon()
    paced.now()
    assert not world.flushes
    world.pass_time(0.0)
    assert len(world.flushes) == 1


def test_the_end_of_the_turn_heeds_the_rest(world: World) -> None:
    world.cost_s = 0.004
    paced = pace(world)
    hold_up(paced)
    ended = world.time
    paced.soon()
    world.pass_time(0.002)
    assert world.flushes[ENOUGH:] == [pytest.approx(ended + 0.002)]


def test_nothing_is_flushed_after_the_stop(world: World) -> None:
    paced = pace(world)
    paced.soon()
    paced.stop()
    world.pass_time(1.0)
    assert not world.flushes
