"""When the socket to NATS is paused, so that more of what comes is flushed together."""

from __future__ import annotations

import pytest

from support.flush_world import IDLE_TICK_US, MS, Transport, World


@pytest.fixture
def patient() -> World:
    """All topics have intervals, the shortest of 100 ms."""
    world = World()
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


# ---- and ticks


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
