"""An alert that is watched, and a crossing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mdstream.alert import Alert, AlertState, Fired, event_data, move, price_text
from mdstream.bus.alerts import Record, Waiting


class Seen(NamedTuple):
    """The prices of an instrument after the number ``seq`` of ``epoch``, in ticks; ``ts_us`` is the market's time. ``late``: what was
    before it is not known."""

    epoch: int
    seq: int
    ts_us: int
    price_exp: int
    ticks: Mapping[str, int | None]
    late: bool = False


@dataclass(slots=True, eq=False)
class Watched:
    """``rev`` is the number of the change by which its user set it, ``entry_rev`` that of what the map holds: the watcher's own marks
    change it."""

    number: int
    topic: str
    key: str
    rev: int
    entry_rev: int
    put_us: int
    """When that change was stored."""
    alert: Alert
    state: AlertState = field(default_factory=AlertState)
    is_started: bool = False
    """Whether ``state`` was learned from a price; else it begins with the price of ``put_us``."""
    price: str = ""
    ts_us: int = 0
    """At which price it fired last, and when by the market."""
    slot: Slot = field(default_factory=lambda: Slot())
    is_changed: bool = False
    """Whether the record lacks something."""
    is_gone: bool = False
    """The user has removed or changed it."""
    mark_s: float = float("-inf")
    """When the map may be marked again."""

    def move(self, seen: Seen, side: int, *, late: bool = False) -> Crossing | None:
        """A price moves it to this side; what to tell if it fires."""
        state = self.state
        state.epoch, state.seq = seen.epoch, seen.seq
        self.is_changed = True
        if not move(self.alert, state, side, seen.ts_us):
            return None
        ticks = seen.ticks[self.alert.on]
        assert ticks is not None
        self.price, self.ts_us = price_text(ticks, seen.price_exp), seen.ts_us
        is_late = late or seen.late
        return Crossing(
            self, event_data(self.key, self.rev, self.alert, state, self.price, self.ts_us, late=is_late)
        )

    def record(self, events: list[Waiting]) -> Record:
        state = self.state
        return Record(
            self.topic,
            self.key,
            self.rev,
            state.epoch,
            state.seq,
            state.side,
            state.count,
            state.minute,
            state.in_minute,
            state.paused,
            self.price,
            self.ts_us,
            events,
        )

    def resume(self, record: Record) -> None:
        """It goes on from what is stored."""
        self.state = AlertState(
            record.epoch,
            record.seq,
            record.side,
            record.count,
            record.minute,
            record.in_minute,
            record.paused,
        )
        self.price, self.ts_us = record.price, record.ts_us
        self.is_started = True
        self.is_changed = bool(record.events)

    @property
    def mark(self) -> Fired | None:
        """What its map shows of it."""
        state = self.state
        if not state.count:
            return None
        return Fired(self.rev, state.count, self.ts_us, self.price, state.paused)


@dataclass(slots=True, eq=False)
class Slot:
    """Where the alert of this topic and key is recorded, whichever it is: its user may set it again at any moment."""

    seq: int = 0
    """The number of the stored record; 0: there is none."""
    events: list[Waiting] = field(default_factory=list)
    """Of crossings, which may not be stored yet."""
    current: Watched | None = None
    """The newest that was recorded."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def record(self, watched: Watched) -> Record:
        """What to store for this one: of the newest, so that nothing falls back."""
        if self.current is None or self.current.number <= watched.number:
            self.current = watched
        return self.current.record(self.events)


class Crossing(NamedTuple):
    """An alert has fired: ``data`` is that of the event."""

    watched: Watched
    data: dict[str, Any]
