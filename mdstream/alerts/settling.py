"""What follows from a crossing, in steps of which each may be done again: the record of the alert is stored, with the event; the event is
stored; the map shows that the alert has fired."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from mdstream.alert import is_over
from mdstream.alerts.tasks import all_of, some_at_a_time
from mdstream.alerts.watched import Crossing, Slot, Watched
from mdstream.bus import Bus
from mdstream.bus.alerts import (
    Record,
    Waiting,
    events_topic,
    forget,
    publish_once,
    put_record,
    record_subject,
)
from mdstream.bus.direct import DirectReader
from mdstream.bus.events import event_subject

AT_ONCE: Final = 64
IN_BULK: Final = AT_ONCE // 2
"""Of these at most so many at once for what no crossing waits for: thousands of records must not hold up one."""
MOST_REMEMBERED: Final = 10_000


class Settling:
    """``settle`` crossings. Raises BusConflict where another watcher is active, BusError where it is not known what was stored: then all
    begins again from what is stored."""

    def __init__(
        self,
        bus: Bus,
        events: DirectReader,
        *,
        told: Callable[[Watched], object],
        at: Callable[[str], object],
        counters: Counter[str],
    ) -> None:
        """``events`` reads ``MD_EVENTS``; ``told`` is called once the event of an alert is stored."""
        self._bus = bus
        self._events = events
        self._told = told
        self._at = at
        self._counters = counters
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._bulk = asyncio.Semaphore(IN_BULK)
        self._newest: dict[str, int] = {}
        """By topic: a number of an event, which is not beyond the newest one's."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def settle(self, crossings: Iterable[Crossing]) -> None:
        """Returns once all are recorded and told. Before anything else may happen, their events belong to the records."""
        by_topic: dict[str, dict[Watched, list[Waiting]]] = {}
        for watched, data in crossings:
            topic = events_topic(watched.topic)
            event = Waiting(data, self._newest.get(topic, 0))
            watched.slot.events.append(event)
            by_topic.setdefault(topic, {}).setdefault(watched, []).append(event)
        await all_of(self._settle(topic, each) for topic, each in by_topic.items())

    async def record(self, these: Collection[Watched]) -> None:
        """Returns once what is known of these alerts is stored, but of those that are gone. Crossings go before it."""
        await some_at_a_time(IN_BULK, these, self._record_in_bulk)

    async def finish(self, record: Record) -> None:
        """Of a stored record: its events are stored, unless they were."""
        topic = events_topic(record.topic)
        async with self._slots:
            for waiting in record.events:
                await self._publish(topic, waiting, waiting.after)

    async def forget(self, topic: str, key: str, slot: Slot) -> None:
        """Removes a record, unless crossings are not told yet."""
        async with self._bulk, slot.lock, self._slots:
            if not slot.events:
                await forget(self._bus, record_subject(topic, key))
                slot.seq, slot.current = 0, None

    async def _settle(self, topic: str, events: Mapping[Watched, list[Waiting]]) -> None:
        """Those of one user, one after the other: so nothing is on his topic that was not looked at."""
        async with self._locks.setdefault(topic, asyncio.Lock()):
            last = await self._newest_of(topic)
            for each in events.values():
                for event in each:
                    event.after = last
            await self._record_all(events)
            self._at("recorded")
            for watched, each in events.items():
                for event in each:
                    last = await self._publish(topic, event, last)
                    watched.slot.events.remove(event)
        for watched in events:
            watched.is_changed = True
            self._told(watched)
        await self._record_all(each for each in events if is_over(each.alert, each.state))
        self._at("finished")

    async def _record_all(self, these: Iterable[Watched]) -> None:
        await all_of(self._record(each) for each in these)

    async def _record(self, watched: Watched) -> None:
        async with watched.slot.lock:
            await self._put(watched)

    async def _record_in_bulk(self, watched: Watched) -> None:
        """Unless that was done meanwhile."""
        async with self._bulk, watched.slot.lock:
            if watched.is_changed and not watched.is_gone:
                await self._put(watched)

    async def _put(self, watched: Watched) -> None:
        slot = watched.slot
        async with self._slots:
            watched.is_changed = False
            slot.seq = await put_record(self._bus, slot.record(watched), expected_seq=slot.seq)

    async def _publish(self, topic: str, waiting: Waiting, last: int) -> int:
        seq = await publish_once(self._bus, self._events, topic, waiting, last)
        self._at("published")
        self._newest[topic] = seq
        self._counters["fired"] += 1
        self._counters["late"] += "late" in waiting.data
        return seq

    async def _newest_of(self, topic: str) -> int:
        """A number of his topic: the newest, unless others have published there since."""
        if len(self._newest) >= MOST_REMEMBERED:
            self._newest.clear()
        known = self._newest.get(topic)
        if known is None:
            newest = await self._events.last(event_subject(topic))
            known = 0 if newest is None else newest.seq
        return known
