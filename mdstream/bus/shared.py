"""What all readers of one core share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mdstream.bus.announcements import Announcements
from mdstream.bus.connection import Bus
from mdstream.bus.gap_recovery import RecoveryOptions
from mdstream.bus.gate import ReaderStats
from mdstream.bus.looking_back import LookingBack

if TYPE_CHECKING:
    from mdstream._core.fanout.flush_scheduler import FlushScheduler
    from mdstream._core.ingest.watch import Watch


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """How instruments are read."""

    stale_after_s: float | None = 30.0
    """An instrument whose venue is silent for longer is stale; None: never."""
    recovery: RecoveryOptions = field(default_factory=RecoveryOptions)


@dataclass(frozen=True, slots=True)
class Shared:
    """The bus, the scheduler that is asked for flushes, who is looked at, counters, clocks, and bounds on simultaneous recoveries
    (``slots``) and questions of openings (``asking``), which do not wait for recoveries that get no answer."""

    bus: Bus
    scheduler: FlushScheduler
    options: ReaderOptions
    stats: ReaderStats
    refs: Announcements
    slots: asyncio.Semaphore
    asking: asyncio.Semaphore
    looking_back: LookingBack
    watch: Watch
    clock: Callable[[], float]
    wall_clock_us: Callable[[], int]
