"""When updates are flushed, and when the hub ticks: on a clock and a loop that do as they are told."""

from __future__ import annotations

import pytest

from support.flush_world import ENOUGH, IDLE_TICK_US, MS, TICK_US, World


@pytest.fixture
def world() -> World:
    return World()


# ---- flushing


def test_a_read_that_brought_updates_is_followed_by_a_flush(world: World) -> None:
    world.read()
    assert world.hub.flushes == []
    world.read(updates=True)
    assert len(world.hub.flushes) == 1 and world.scheduler.state == "idle"


def test_a_read_that_changed_the_hub_is_followed_by_a_flush(world: World) -> None:
    world.hub.changed = True
    world.read()
    assert len(world.hub.flushes) == 1


def test_updates_of_one_read_are_flushed_once(world: World) -> None:
    world.scheduler.request()
    world.scheduler.request()
    assert world.scheduler.state == "requested" and not world.hub.flushes
    world.turn()
    assert len(world.hub.flushes) == 1 and world.scheduler.state == "idle"


def test_a_read_that_filled_its_buffer_is_flushed_at_the_end_of_the_turn(world: World) -> None:
    world.read(updates=True, full=True)
    world.read(updates=True)
    assert not world.hub.flushes
    world.turn()
    assert len(world.hub.flushes) == 1


def test_reads_that_fill_their_buffer_leave_the_loop_to_others_after_5_ms(world: World) -> None:
    world.read(updates=True, full=True)
    world.now_us += 5 * MS - 1
    world.read(updates=True, full=True)
    assert world.transport.reading
    world.now_us += 1
    world.read(updates=True, full=True)
    assert not world.transport.reading and not world.hub.flushes
    world.turn()
    assert world.transport.reading and len(world.hub.flushes) == 1
    world.now_us += 5 * MS
    world.read(updates=True, full=True)
    assert world.transport.reading, "a turn of its own"


def test_a_socket_that_is_held_is_let_go_when_it_is_detached(world: World) -> None:
    world.read(full=True)
    world.now_us += 5 * MS
    world.read(full=True)
    assert not world.transport.reading
    world.scheduler.attach(None)
    assert world.transport.reading
    world.turn()


def test_a_socket_that_somebody_else_paused_is_not_let_go(world: World) -> None:
    world.read(full=True)
    world.now_us += 5 * MS
    world.transport.reading = False
    world.read(full=True)
    world.turn()
    assert not world.transport.reading


def test_while_flushes_are_short_none_waits(world: World) -> None:
    world.hub.cost_us = 200
    for _ in range(5):
        world.read(updates=True)
    assert len(world.hub.flushes) == 5


def test_a_hiccup_makes_nothing_wait(world: World) -> None:
    world.hub.cost_us = 4 * MS
    for _ in range(5):
        world.hold_up()
        world.pass_us(MS)
    assert len(world.hub.flushes) == 5 * ENOUGH


def test_while_each_flush_finds_more_the_next_waits_half_as_long_and_takes_all_that_came(
    world: World,
) -> None:
    world.hub.cost_us = 4 * MS
    world.hold_up()
    for expected in range(ENOUGH + 1, ENOUGH + 5):
        ended_us = world.now_us
        for _ in range(3):
            world.read(updates=True)
            world.scheduler.request()
        assert world.scheduler.state == "coalescing"
        world.pass_us(2 * MS)
        assert len(world.hub.flushes) == expected
        assert world.hub.flushes[-1] == ended_us + 2 * MS


def test_a_wait_in_which_nothing_came_is_not_repeated(world: World) -> None:
    world.hub.cost_us = 4 * MS
    world.hold_up()
    world.read(updates=True)
    world.pass_us(2 * MS)
    assert len(world.hub.flushes) == ENOUGH + 1
    world.read(updates=True)
    assert len(world.hub.flushes) == ENOUGH + 2 and world.scheduler.state == "idle"


@pytest.mark.parametrize("most_ms", [5, 0])
def test_a_wait_is_bounded(most_ms: int) -> None:
    world = World(coalesce_max_us=most_ms * MS)
    world.hub.cost_us = 100 * MS
    world.hold_up()
    ended_us = world.now_us
    world.read(updates=True)
    world.pass_us(most_ms * MS)
    assert world.hub.flushes[ENOUGH:] == [ended_us + most_ms * MS]


def test_the_end_of_the_turn_heeds_the_wait(world: World) -> None:
    world.hub.cost_us = 4 * MS
    world.hold_up()
    ended_us = world.now_us
    world.scheduler.request()
    world.pass_us(2 * MS)
    assert world.hub.flushes[ENOUGH:] == [ended_us + 2 * MS]


@pytest.mark.parametrize("coalescing", [False, True])
def test_nothing_is_flushed_after_the_stop(world: World, coalescing: bool) -> None:
    world.hub.cost_us = 4 * MS
    if coalescing:
        world.hold_up()
        world.read(updates=True)
    else:
        world.scheduler.request()
    flushes = len(world.hub.flushes)
    world.scheduler.stop()
    world.pass_us(10**6)
    assert len(world.hub.flushes) == flushes and not world.hub.ticks


def test_a_flush_asked_for_is_now(world: World) -> None:
    world.scheduler.flush()
    assert len(world.hub.flushes) == 1


# ---- ticks


def test_ticks_are_seldom_while_nothing_waits(world: World) -> None:
    start_us = world.now_us
    world.pass_us(2 * IDLE_TICK_US)
    assert world.hub.ticks == [start_us + IDLE_TICK_US, start_us + 2 * IDLE_TICK_US]


@pytest.mark.parametrize("asked", [False, True])
def test_what_begins_to_wait_in_a_flush_has_its_tick_soon(world: World, asked: bool) -> None:
    world.pass_us(MS)
    world.hub.waits = True
    for _ in range(2):
        world.scheduler.flush() if asked else world.read(updates=True)
    flushed_us = world.now_us
    world.pass_us(TICK_US)
    assert world.hub.ticks == [flushed_us + TICK_US]
    world.pass_us(TICK_US)
    assert len(world.hub.ticks) == 2
    world.hub.waits = False
    world.pass_us(TICK_US)
    world.pass_us(IDLE_TICK_US - 1)
    assert len(world.hub.ticks) == 3
    world.pass_us(1)
    assert len(world.hub.ticks) == 4


def test_a_tick_that_fails_is_not_the_last(world: World) -> None:
    world.hub.failing = True
    with pytest.raises(RuntimeError):
        world.pass_us(IDLE_TICK_US)
    world.hub.failing = False
    world.pass_us(IDLE_TICK_US)
    assert len(world.hub.ticks) == 2


@pytest.mark.parametrize(
    ("asked", "given"), [(12_500, TICK_US), (100_000, 100_000), (2_000_000, IDLE_TICK_US)]
)
def test_short_heartbeats_need_more_ticks(asked: int, given: int) -> None:
    world = World(idle_tick_us=asked)
    start_us = world.now_us
    world.pass_us(given)
    assert world.hub.ticks == [start_us + given]


def test_its_owner_is_called_after_each_tick() -> None:
    calls: list[str] = []
    world = World(on_tick=lambda: calls.append("owner"))
    world.hub.tick = lambda now_us, wall_us: calls.append("hub")
    world.pass_us(IDLE_TICK_US)
    assert calls == ["owner", "hub", "owner"]


# ---- time


@pytest.mark.parametrize("step_us", [3_600_000_000, -3_600_000_000])
def test_a_step_of_the_wall_clock_is_passed_on_and_changes_no_pace(step_us):
    world = World()
    world.hub.waits = True
    world.pass_us(IDLE_TICK_US)
    world.wall_us += step_us
    world.hub.ticks.clear()
    world.hub.told.clear()
    world.pass_us(10 * TICK_US)
    world.read(updates=True)
    assert len(world.hub.ticks) == 10 and len(world.hub.flushes) == 1
    assert {wall_us for _, wall_us in world.hub.told} == {1_700_000_000_000_000 + step_us}
    assert [now_us for now_us, _ in world.hub.told] == world.hub.ticks + world.hub.flushes
