"""The open readers of one core, and what they share.

``open`` subscribes, reads the reference data and brings book and trades up to date. From then on live payloads go straight to the
core, and gaps are recovered in the background.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.ingest.watch import Watch
from mdstream.bus.announcements import Announcements
from mdstream.bus.connection import Bus
from mdstream.bus.day_statistics import DayStatistics
from mdstream.bus.delayed import DelayedBus
from mdstream.bus.directory import Directory
from mdstream.bus.gap_recovery import InstrumentCore
from mdstream.bus.gate import ReaderStats
from mdstream.bus.health import Health
from mdstream.bus.looking_back import LookingBack
from mdstream.bus.opening import check_known
from mdstream.bus.reader import InstrumentReader
from mdstream.bus.shared import ReaderOptions, Shared
from mdstream.bus.watcher import Watcher
from mdstream.model import InstrumentId, Ref

LOOK_S = 0.2
"""Between two looks at who is silent. Silence is told at most twice as late: an update may be noticed, and its silence too, as
late as that."""
ASKING = 256
"""Instruments of which MD_STATE is asked at a time."""


class Readers:
    """The open readers of one core, and what they share: the bus, a bound on simultaneous recoveries, the scheduler, the counters."""

    def __init__(
        self,
        bus: Bus,
        scheduler: FlushScheduler,
        options: ReaderOptions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """``scheduler`` is asked for a flush when anything changed in the core; it must have been started."""
        self.bus = bus
        self.options = options or ReaderOptions()
        self.stats = ReaderStats()
        self.health = Health(bus, clock)
        self.slots = asyncio.Semaphore(self.options.recovery.concurrent)
        self._refs = Announcements(bus, wall_clock_us)
        self.directory = Directory(bus, self._refs, wall_clock_us)
        self.statistics = None if isinstance(bus, DelayedBus) else DayStatistics(bus)
        """Of the last 24 hours; None where the market data is late, as they are not."""
        self._clock, self._watch = clock, Watch()
        self._shared = Shared(
            bus,
            scheduler,
            self.options,
            self.stats,
            self._refs,
            self.slots,
            asyncio.Semaphore(ASKING),
            LookingBack(self.options.recovery.look_back, clock),
            self._watch,
            clock,
            wall_clock_us,
        )
        self._loop = asyncio.get_running_loop()
        self._open: set[InstrumentReader] = set()
        self._unregister = (
            bus.on_disconnect(self._disconnected),
            bus.on_reconnect(self._reconnected),
            bus.client.schedule_by(scheduler),
        )
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._tasks = [self._loop.create_task(work) for work in (self.health.watch(), self._refs.listen())]

    async def open(
        self, instrument: InstrumentId, make_core: Callable[[Ref], InstrumentCore], watcher: Watcher
    ) -> InstrumentReader:
        """Opens an instrument. Returns when its reference data is known; book and trades are brought up to date afterwards.

        ``make_core`` takes the reference data and returns the core's side. Raises UnknownInstrument if nobody announced the
        instrument, BusUnavailable if NATS or JetStream does not answer, FeedError if the reference data cannot be used.
        """
        await check_known(self.bus, self._shared.asking, instrument, self._refs.get)
        reader = InstrumentReader(self._shared, instrument, watcher, self._open.discard)
        self._open.add(reader)
        try:
            await reader.start(make_core)
        except BaseException:
            await reader.close()
            raise
        return reader

    def is_announced(self, instrument: InstrumentId) -> bool:
        """Whether its ``ref`` was heard since the start; if not, it may be stored all the same."""
        return instrument in self._refs

    async def close(self) -> None:
        """Closes every reader; the bus stays open."""
        for unregister in self._unregister:
            unregister()
        self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.directory.close()
        if self.statistics is not None:
            await self.statistics.close()
        await self._refs.close()
        for reader in tuple(self._open):
            await reader.close()

    def _disconnected(self) -> None:
        for reader in tuple(self._open):
            reader.disconnected()

    def _reconnected(self) -> None:
        for reader in tuple(self._open):
            reader.reconnected()

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._watch.look(int(self._clock() * 1e6))
