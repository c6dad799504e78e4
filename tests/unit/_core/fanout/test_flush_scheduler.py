"""When updates are flushed, when the hub ticks and when the socket is paused: on a clock and a loop that do as they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from doubles.scripted_hub import ScriptedHub

from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers

ENOUGH = 3
"""Flushes in a row that held something up, until the next one waits."""
TICK_US = 50_000
IDLE_TICK_US = 200_000
MS = 1_000


class Handle:
    def __init__(self, due_us: int, callback: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.due_us, self.callback, self.arguments = due_us, callback, arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Hub(ScriptedHub):
    """Flushes take ``cost_us``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cost_us = 0
        self.flushes: list[int] = []
        self.ticks: list[int] = []
        self.told: list[tuple[int, int]] = []
        self.failing = False

    def flush(self, now_us: int, wall_us: int) -> int:
        self.flushes.append(self.world.now_us)
        self.told.append((now_us, wall_us))
        self.world.now_us += self.cost_us
        return 0

    def tick(self, now_us: int, wall_us: int) -> int:
        self.ticks.append(self.world.now_us)
        self.told.append((now_us, wall_us))
        if self.failing:
            raise RuntimeError("no")
        return 0


class Transport:
    def __init__(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class World:
    """Time, the loop's callbacks, a hub, a socket and the tap that reads it."""

    def __init__(self, **options: Any) -> None:
        self.now_us = 100_000_000
        self.wall_us = 1_700_000_000_000_000
        self.waiting: list[Handle] = []
        self.hub = Hub(self)
        self.transport = Transport()
        self.scheduler = FlushScheduler(
            self.hub, clock=lambda: self.now_us, wall_clock=lambda: self.wall_us, **options
        )
        loop: Any = self
        self.scheduler.start(loop)
        self.scheduler.attach(self.transport)
        self.tap = NatsTap(
            Handlers({1: lambda *_: self.scheduler.request()}),
            {"in_msgs": 0, "in_bytes": 0},
            len,
            print,
            self.scheduler,
        )
        self.hub.ticks.clear()

    def call_later(self, delay_s: float, callback: Callable[..., None], *arguments: Any) -> Handle:
        handle = Handle(self.now_us + round(delay_s * 1e6), callback, arguments)
        self.waiting.append(handle)
        return handle

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> Handle:
        return self.call_later(0.0, callback, *arguments)

    def pass_us(self, us: int) -> None:
        end_us = self.now_us + us
        while due := [handle for handle in self.waiting if handle.due_us <= end_us]:
            handle = min(due, key=lambda handle: handle.due_us)
            self.waiting.remove(handle)
            self.now_us = max(self.now_us, handle.due_us)
            if not handle.cancelled:
                handle.callback(*handle.arguments)
        self.now_us = max(self.now_us, end_us)

    def turn(self) -> None:
        """What the loop calls in its next turn, and nothing that this asks for."""
        due = [handle for handle in self.waiting if handle.due_us <= self.now_us]
        self.waiting = [handle for handle in self.waiting if handle not in due]
        for handle in due:
            if not handle.cancelled:
                handle.callback(*handle.arguments)

    def read(self, *, updates: bool = False, full: bool = False) -> None:
        """A read from the socket, which brought an update or not, and filled its buffer or not."""
        space = self.tap.get_buffer(-1)
        data = b"MSG md.SIM.BTC-USD.book 1 0\r\n\r\n" if updates else b""
        data += b"PING" + b" " * (len(space) - len(data) - 6 if full else 0) + b"\r\n"
        space[: len(data)] = data
        self.tap.buffer_updated(len(data))

    def hold_up(self) -> None:
        """Flushes that each find the next update waiting, until the next one is worth a wait."""
        for _ in range(ENOUGH):
            self.read(updates=True)


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


# ---- the socket


@pytest.fixture
def patient(world: World) -> World:
    """All topics have intervals, the shortest of 100 ms."""
    world.hub.allow_defer(10 * MS)
    return world


def test_reads_that_follow_each_other_quickly_are_followed_by_a_pause(patient: World) -> None:
    patient.read()
    patient.read()
    assert patient.scheduler.state == "deferred" and not patient.transport.reading
    patient.pass_us(10 * MS - 1)
    assert not patient.transport.reading
    patient.pass_us(1)
    assert patient.scheduler.state == "idle" and patient.transport.reading
    patient.read()  # at once: something had come meanwhile
    assert patient.scheduler.state == "deferred"


def test_where_little_comes_the_socket_is_read(patient: World) -> None:
    for _ in range(3):
        patient.pass_us(10 * MS)
        patient.read()
        assert patient.transport.reading


def test_after_a_pause_in_which_nothing_came_there_is_none(patient: World) -> None:
    patient.read()
    patient.read()
    patient.pass_us(20 * MS)
    patient.read()
    assert patient.transport.reading


@pytest.mark.parametrize(
    ("defer_us", "most_us", "pause_us"),
    [(0, MS, 0), (10 * MS, 0, 0), (999, MS, 0), (10 * MS, 4 * MS, 4 * MS), (4 * MS, 10 * MS, 4 * MS)],
)
def test_a_pause_is_bounded_twice(defer_us: int, most_us: int, pause_us: int) -> None:
    world = World(coalesce_max_us=most_us)
    world.hub.allow_defer(defer_us)
    world.read()
    world.read()
    assert world.transport.reading == (pause_us == 0)
    world.pass_us(pause_us)
    assert world.transport.reading


def test_no_pause_while_more_waits(patient: World) -> None:
    patient.read()
    patient.read(full=True)
    assert patient.transport.reading


def test_a_socket_that_is_not_read_just_now_is_left_alone(patient: World) -> None:
    """As nats-py's stream pauses it when too much waits there: who paused it will have it read again."""
    patient.read()
    patient.transport.reading = False
    patient.read()
    assert patient.scheduler.state == "idle" and not patient.transport.reading


def test_while_a_topic_without_an_interval_is_sent_something_nothing_is_deferred(patient: World) -> None:
    for _ in range(20):
        patient.hub.count_undelayed()
        patient.read(updates=True)
        patient.pass_us(9 * MS)
        patient.read()
        assert patient.transport.reading
        patient.pass_us(90 * MS)


def test_a_topic_without_an_interval_that_is_quiet_does_not_hinder_a_pause(patient: World) -> None:
    patient.hub.count_undelayed()
    patient.read(updates=True)
    for _ in range(11):
        assert patient.transport.reading
        patient.pass_us(9 * MS)
        patient.read()
    patient.pass_us(MS)
    patient.read()
    assert patient.scheduler.state == "deferred"


def test_an_update_from_elsewhere_ends_a_pause(patient: World) -> None:
    patient.read()
    patient.read()
    patient.scheduler.request()
    assert patient.scheduler.state == "requested" and patient.transport.reading
    patient.turn()
    assert len(patient.hub.flushes) == 1
    patient.pass_us(10 * MS)
    assert len(patient.hub.flushes) == 1


@pytest.mark.parametrize("stop", [False, True])
def test_a_socket_let_go_is_read(patient: World, stop: bool) -> None:
    patient.read()
    patient.read()
    if stop:
        patient.scheduler.stop()
    else:
        patient.scheduler.attach(None)
    assert patient.transport.reading
    patient.read()
    patient.read()
    assert patient.transport.reading


def test_a_new_connection_ends_the_pause_of_the_old_one(patient: World) -> None:
    patient.read()
    patient.read()
    old, patient.transport = patient.transport, Transport()
    patient.scheduler.attach(patient.transport)
    assert old.reading
    patient.read()
    patient.read()
    assert not patient.transport.reading and old.reading


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


def test_before_a_tick_a_paused_socket_is_read(patient: World) -> None:
    """The loop reads it in its next turn; the tick belongs to the one after it."""
    patient.pass_us(IDLE_TICK_US - MS)
    patient.read()
    patient.read()
    patient.now_us += MS
    patient.turn()
    assert patient.transport.reading and not patient.hub.ticks
    patient.turn()
    assert not patient.hub.ticks
    patient.turn()
    assert len(patient.hub.ticks) == 1


def test_a_tick_waits_for_one_read_however_much_comes(patient: World) -> None:
    patient.pass_us(IDLE_TICK_US - MS)
    patient.read()
    patient.read()
    patient.now_us += MS
    patient.turn()
    patient.read()
    assert not patient.transport.reading, "it is paused again"
    patient.turn()
    patient.turn()
    assert len(patient.hub.ticks) == 1 and not patient.transport.reading


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
