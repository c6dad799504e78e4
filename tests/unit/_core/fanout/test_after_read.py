"""What follows a read: those who are due are called, and the socket rests where all are patient and much comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from mdstream._core.fanout.after_read import AfterRead, Patience, Wake
from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers

REST_US = 60_000_000
"""However slow the machine, the next read comes sooner."""
SHORT_REST_US = 2_000
LONGER_THAN_THAT_S = 0.004


class Socket:
    """A transport, and the loop that it belongs to."""

    def __init__(self) -> None:
        self.reading = True
        self.rests: list[float] = []
        self.over: Callable[[], None] = print

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.rests.append(delay)
        self.over = callback
        return self

    def cancel(self) -> None:
        """As a timer's handle."""


class World:
    def __init__(self) -> None:
        self.socket = Socket()
        self.after_read = AfterRead()
        self.after_read.attach(self.socket, self.socket.call_later)
        self.tap = NatsTap(Handlers(), {"in_msgs": 0, "in_bytes": 0}, len, print, self.after_read)
        self.wake = Wake(lambda: None)
        self.told: list[bool] = []

    def waits(self, patience_us: int, most_us: int = 10**9) -> Callable[[], None]:
        """Somebody who is called if the wake is due."""
        self.patience = Patience()
        self.patience.us = patience_us
        return self.after_read.add(self.wake, self.told.append, self.patience, most_us)

    def read(self, *, full: bool = False) -> None:
        space = self.tap.get_buffer(-1)
        line = b"PING\r\n" if not full else b"PING" + b" " * (len(space) - 6) + b"\r\n"
        space[: len(line)] = line
        self.tap.buffer_updated(len(line))


@pytest.fixture
def world() -> World:
    return World()


def test_who_is_due_is_called_after_the_read_and_told_whether_more_waits(world: World) -> None:
    world.waits(0)
    world.read()
    assert world.told == []
    world.wake.set()
    world.read()
    world.read(full=True)
    assert world.told == [False, True]
    world.wake.clear()
    world.read()
    assert len(world.told) == 2


def test_a_wake_calls_back_once_until_it_is_cleared() -> None:
    calls: list[int] = []
    wake = Wake(lambda: calls.append(1))
    wake.set()
    wake.set()
    assert calls == [1] and wake.due
    wake.clear()
    wake.set()
    assert calls == [1, 1]


def test_reads_that_follow_each_other_quickly_are_followed_by_rests(world: World) -> None:
    world.waits(REST_US)
    world.read()
    world.read()
    assert world.after_read.resting and not world.socket.reading
    assert world.socket.rests == [REST_US / 1e6]
    world.socket.over()
    assert not world.after_read.resting and world.socket.reading
    world.read()  # at once: something had come meanwhile
    assert world.after_read.resting


def test_where_little_comes_nothing_waits(world: World) -> None:
    world.waits(SHORT_REST_US)
    for _ in range(3):
        time.sleep(LONGER_THAN_THAT_S)
        world.read()
        assert not world.after_read.resting


def test_after_a_rest_in_which_nothing_came_there_is_none(world: World) -> None:
    world.waits(REST_US)
    world.read()
    world.read()
    world.socket.over()
    world.patience.us = SHORT_REST_US
    time.sleep(LONGER_THAN_THAT_S)
    world.read()
    assert not world.after_read.resting


@pytest.mark.parametrize(
    ("waiters", "rest_us"),
    [
        ([], 0),
        ([(0, 10**9)], 0),
        ([(10**9, 0)], 0),
        ([(999, 10**9)], 0),  # shorter than a timer can be
        ([(10**9, REST_US)], REST_US),
        ([(10**9, 10**9), (REST_US, 10**9)], REST_US),
        ([(REST_US, 10**9), (10**9, 10**9)], REST_US),
        ([(REST_US, 10**9), (0, 10**9)], 0),
    ],
)
def test_the_least_patient_decides(world: World, waiters: list[tuple[int, int]], rest_us: int) -> None:
    for patience_us, most_us in waiters:
        world.waits(patience_us, most_us)
    world.read()
    world.read()
    assert world.socket.rests == ([rest_us / 1e6] if rest_us else [])


def test_no_rest_while_more_waits(world: World) -> None:
    world.waits(REST_US)
    world.read()
    world.read(full=True)
    assert not world.after_read.resting


def test_a_socket_that_is_not_read_just_now_is_left_alone(world: World) -> None:
    """As nats-py's stream pauses it when too much waits there: who paused it will have it read again."""
    world.waits(REST_US)
    world.read()
    world.socket.reading = False
    world.read()
    assert world.socket.rests == []


def test_who_leaves_ends_a_rest_and_is_not_called(world: World) -> None:
    leave = world.waits(REST_US)
    world.read()
    world.read()
    leave()
    assert world.socket.reading
    world.wake.set()
    world.read()
    assert world.told == [] and world.socket.rests == [REST_US / 1e6]


def test_a_new_connection_ends_the_rest_of_the_old_one(world: World) -> None:
    world.waits(REST_US)
    world.read()
    world.read()
    old, new = world.socket, Socket()
    world.after_read.attach(new, new.call_later)
    assert old.reading
    world.read()
    world.read()
    assert not new.reading and old.reading


def test_without_a_connection_nothing_rests(world: World) -> None:
    world.waits(REST_US)
    world.after_read.attach(None, asyncio.TimerHandle)
    world.read()
    world.read()
    assert not world.after_read.resting
