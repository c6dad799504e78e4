"""One time that this watcher evaluates all alerts: from what is stored, until it loses the lease or cannot know what is stored.

Whatever goes wrong ends it, and the next one begins from what is stored. So there is one way to recover, and it is used every day.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

import nats.errors

from mdstream._core.base.budget import Budget
from mdstream.alert import Alert, is_over, read_alert
from mdstream.alerts.follower import Follower, Sources
from mdstream.alerts.maps import AlertMap, AlertMaps
from mdstream.alerts.marks import Marks
from mdstream.alerts.options import AlertOptions
from mdstream.alerts.settling import IN_BULK, Settling
from mdstream.alerts.tasks import all_of, failure_in, some_at_a_time
from mdstream.alerts.watched import Slot, Watched
from mdstream.bus import MD_LOG, MD_STATE, Bus, streams
from mdstream.bus.alerts import MD_ALERTS, Record, forget, read_records
from mdstream.bus.direct import DirectReader
from mdstream.bus.topic_streams import MD_EVENTS
from mdstream.errors import BusError
from mdstream.maps import Entry
from mdstream.model import InstrumentId

logger = logging.getLogger("mdstream.alerts")

IDLE_S: Final = 30.0
"""How long an instrument is followed on which there are no alerts any more."""
LOOK_S: Final = 10.0
"""How often it is looked whether the log is still the same one."""
SWEEP_S: Final = 1.0
MOST_REFUSED: Final = 10_000
LINES_AT_ONCE, LINES_PER_SECOND = 100, 1
"""Of the log, of what is no alert; ``refused`` counts all."""


class Evaluation:
    """``run`` it. Raises BusConflict where another watcher is active, BusError where all must begin again."""

    def __init__(self, bus: Bus, options: AlertOptions, counters: Counter[str]) -> None:
        self.counters = counters
        self.followers: dict[tuple[InstrumentId, str], Follower] = {}
        self._bus = bus
        self._options = options
        self._numbers = itertools.count()
        self._watched: dict[str, dict[str, Watched]] = {}
        """By topic and key."""
        self._refused: dict[tuple[str, str], int] = {}
        """By topic and key: what was told of."""
        self._lines = Budget(LINES_AT_ONCE, LINES_PER_SECOND, options.now_s())
        self._records: dict[tuple[str, str], tuple[int, Record]] = {}
        """What was stored by the one before, as long as nobody has taken it over."""
        self._ended: dict[tuple[str, str], Watched] = {}
        """Alerts that were removed, and whose records are to be."""
        self._tasks: asyncio.TaskGroup
        self._follows: dict[Follower, asyncio.Task[None]] = {}

    @property
    def alerts(self) -> int:
        """Those that may fire."""
        return sum(len(each.alerts) for each in self.followers.values())

    async def run(self) -> None:
        """Until it is cancelled."""
        async with AsyncExitStack() as stack:
            readers = {
                name: DirectReader(self._bus, name) for name in (MD_LOG, MD_STATE, MD_EVENTS, MD_ALERTS)
            }
            for each in readers.values():
                stack.push_async_callback(each.close)
                await each.begin()
            self._settling = Settling(
                self._bus, readers[MD_EVENTS], told=self._told, at=self._options.at, counters=self.counters
            )
            self._log_us = await self._created_us()
            self._sources = self._make_sources(readers)
            await self._take_over(readers[MD_ALERTS])
            self._maps = AlertMaps(self._bus, self._changed, wall_us=self._options.wall_us)
            stack.push_async_callback(self._maps.close)
            self._marks = Marks(
                self._bus,
                self._maps,
                now_s=self._options.now_s,
                wall_us=self._options.wall_us,
                at=self._options.at,
            )
            await self._work()

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self._maps.begin()
                for work in (self._forget_left(), self._maps.work(), self._marks.work(), self._sweep()):
                    self._spawn(work)
        except BaseExceptionGroup as errors:
            raise failure_in(errors) from None

    async def _forget_left(self) -> None:
        """Records of alerts that nobody has any more."""
        left, self._records = list(self._records), {}
        await some_at_a_time(IN_BULK, left, lambda at: self._settling.forget(*at, Slot()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(work)

    def _make_sources(self, readers: dict[str, DirectReader]) -> Sources:
        options = self._options
        return Sources(
            self._bus,
            readers[MD_LOG],
            readers[MD_STATE],
            self._log_us,
            self._settling.settle,
            self._settling.record,
            options.now_s,
            options.wall_us,
            options.place_s,
            options.at,
        )

    async def _take_over(self, reader: DirectReader) -> None:
        """Reads what is stored, and does what the one before may not have done."""
        found = await read_records(self._bus, reader)
        for record_seq, record in found:
            self._records[record.topic, record.key] = record_seq, record
        await all_of(self._settling.finish(record) for _, record in found if record.events)

    async def _created_us(self) -> int:
        try:
            return streams.created_us(await streams.info(self._bus.jetstream, MD_LOG))
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{MD_LOG} cannot be asked for")

    # ---- alerts come and go

    def _changed(self, found: AlertMap) -> None:
        """A map was read, or has changed."""
        known = self._watched.setdefault(found.name, {})
        entries = dict(found.state.items())
        for key in known.keys() - entries.keys():
            self._remove(known.pop(key))
        for key, entry in entries.items():
            watched = known.get(key)
            if watched is None or watched.entry_rev != entry.rev:
                self._take(found.name, key, entry)

    def _take(self, topic: str, key: str, entry: Entry) -> None:
        known = self._watched[topic]
        before = known.get(key)
        try:
            alert = read_alert(entry.value)
        except ValueError as error:
            self._refuse(topic, key, entry, error)
            if before is not None:
                self._remove(known.pop(key))
            return
        rev = alert.fired.rev if alert.fired is not None else entry.rev
        if before is not None and before.rev == rev:
            before.entry_rev = entry.rev
            return
        known[key] = self._make(topic, key, rev, entry, alert, before)

    def _make(
        self, topic: str, key: str, rev: int, entry: Entry, alert: Alert, before: Watched | None
    ) -> Watched:
        watched = Watched(next(self._numbers), topic, key, rev, entry.rev, entry.ts_us, alert)
        watched.slot.seq, record = self._records.pop((topic, key), (0, None))
        before = before or self._ended.pop((topic, key), None)
        if before is not None:
            self._let_go(before)
            watched.slot = before.slot
        if record is not None and record.rev == rev:
            watched.resume(record)
        elif alert.fired is not None:  # what was remembered is lost
            watched.state.count, watched.state.paused = alert.fired.count, alert.fired.paused
        self._marks.want(watched)
        if is_over(alert, watched.state):
            if watched.is_changed:
                self._spawn(self._settling.record([watched]))
        else:
            self._follow(watched)
        return watched

    def _refuse(self, topic: str, key: str, entry: Entry, error: ValueError) -> None:
        """Tells it once."""
        if self._refused.get((topic, key)) == entry.rev:
            return
        if len(self._refused) >= MOST_REFUSED:
            self._refused.clear()
        self._refused[topic, key] = entry.rev
        self.counters["refused"] += 1
        if self._lines.take(self._options.now_s()):
            logger.warning("%s: %a is no alert and is not watched: %s", topic, key[:64], error)

    def _follow(self, watched: Watched) -> None:
        at = _followed_by(watched)
        follower = self.followers.get(at)
        if follower is None:
            follower = self.followers[at] = Follower(self._sources, *at)
            self._follows[follower] = self._spawn(follower.run())
        follower.add(watched)

    def _let_go(self, watched: Watched) -> None:
        watched.is_gone = True
        follower = self.followers.get(_followed_by(watched))
        if follower is not None:
            follower.remove(watched)

    def _remove(self, watched: Watched) -> None:
        """Its user has removed it."""
        self._let_go(watched)
        self._ended[watched.topic, watched.key] = watched

    def _told(self, watched: Watched) -> None:
        """Its event is stored."""
        self._marks.want(watched)
        follower = self.followers.get(_followed_by(watched))
        if follower is not None and is_over(watched.alert, watched.state):
            follower.alerts.discard(watched)

    # ---- from time to time

    async def _sweep(self) -> None:
        looked_s = self._options.now_s()
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._forget_ended()
            await self._end_idle(self._options.now_s())
            if self._options.now_s() - looked_s >= LOOK_S:
                looked_s = self._options.now_s()
                if await self._created_us() != self._log_us:
                    raise BusError(f"{MD_LOG} is another stream than before: alerts begin again")

    async def _forget_ended(self) -> None:
        """Records of alerts that were removed, once their crossings are told."""
        ended = [(at, each) for at, each in self._ended.items() if not each.slot.events]
        await some_at_a_time(IN_BULK, ended, lambda each: self._settling.forget(*each[0], each[1].slot))
        for at, each in ended:
            if self._ended.get(at) is each and not each.slot.seq:
                del self._ended[at]

    async def _end_idle(self, now_s: float) -> None:
        for at, follower in list(self.followers.items()):
            if follower.alerts:
                follower.idle_s = None
            elif not follower.has_begun:  # there may be no such instrument, and thousands of them
                await self._end(at, follower)
            elif follower.idle_s is None:
                follower.idle_s = now_s
            elif now_s - follower.idle_s >= IDLE_S:
                await self._end(at, follower)
                await forget(self._bus, follower.place_subject)

    async def _end(self, at: tuple[InstrumentId, str], follower: Follower) -> None:
        del self.followers[at]
        task = self._follows.pop(follower)
        task.cancel()
        await asyncio.wait({task})


def _followed_by(watched: Watched) -> tuple[InstrumentId, str]:
    return watched.alert.instrument, "trade" if watched.alert.on == "last" else "book"
