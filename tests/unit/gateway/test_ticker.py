"""The pace of ticks, on a loop that does as it is told."""

from __future__ import annotations

import asyncio

import pytest

from mdstream.gateway.ticker import REST_S, TICK_S, Ticker


class World:
    """What was asked of the loop, and what the ticker finds waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ticks = 0
        self.waits = False
        self.asked: list[float] = []
        self.cancelled = 0
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def call_later(self, delay_s, callback):
        self.asked.append(delay_s)
        self.callback = callback
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def tick(self) -> None:
        self.ticks += 1


@pytest.fixture
def world(monkeypatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def ticker(world) -> Ticker:
    return Ticker(world.tick, lambda: world.waits)


def test_it_ticks_seldom_while_nothing_waits(world, ticker) -> None:
    ticker.start()
    world.callback()
    ticker.stir()
    assert world.ticks == 2 and world.asked == [REST_S] * 2 and world.cancelled == 0


def test_what_begins_to_wait_has_its_tick_soon(world, ticker) -> None:
    ticker.start()
    world.waits = True
    ticker.stir()
    ticker.stir()
    assert world.asked == [REST_S, TICK_S] and world.cancelled == 1
    world.callback()
    world.waits = False
    world.callback()
    assert world.ticks == 3 and world.asked == [REST_S, TICK_S, TICK_S, REST_S]


def test_a_tick_that_fails_is_not_the_last(world) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Ticker(fail, lambda: False).start()
    assert world.asked == [REST_S]


@pytest.mark.parametrize(("asked", "given"), [(0.0125, TICK_S), (0.1, 0.1), (2.0, REST_S)])
def test_short_heartbeats_need_more_ticks(world, asked, given) -> None:
    Ticker(world.tick, lambda: False, asked).start()
    assert world.asked == [given]


def test_none_comes_after_the_stop(world, ticker) -> None:
    ticker.start()
    ticker.stop()
    world.waits = True
    ticker.stir()
    assert world.cancelled == 1 and world.asked == [REST_S]
