"""A clock, a loop, a hub and a socket around a flush scheduler, all of which do as they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
