"""Which sessions of this gateway are present where: told to the bus in batches, and again where that was lost.

What this gateway wants of a map of presence is known here, what is there is known from the log. ``Attendance`` writes the difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mdstream.bus import maps
from mdstream.errors import BusError
from mdstream.gateway.activity import Activity
from mdstream.maps import MAX_CHANGE_BYTES, MAX_CHANGE_KEYS, Change, encode_change, node_of

if TYPE_CHECKING:
    from mdstream.gateway.open_map import OpenMap

log = logging.getLogger("mdstream.gateway.presence")

BATCH_S: Final = 0.2
"""How long joins and leaves wait for others."""
PUT_S: Final = 2.0
RETRY_S: Final = 1.0
COMPARE_S: Final = 30.0
"""How often all is compared where nothing happens."""
_ROOM: Final = 4_096


class Attendance:
    """The sessions of this gateway at one topic."""

    def __init__(self, each: OpenMap, instance: str, activity: Activity | None = None) -> None:
        self.map = each
        self.wanted: dict[str, list[Any]] = {}
        """By session: its entry."""
        self._instance = instance
        self._activity = activity
        self._changed: dict[str, None] = {}
        """Sessions that have come or gone since it was written."""
        self._is_all = False
        """Everything is to be compared."""
        self._stored_seq = 0
        """The number of the newest change that was stored."""
        self._is_writing = False
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._is_attached = True
        each.holds += 1
        each.tell_loaded = self._loaded
        each.tell_set = self._set
        each.tell_dropped = self._dropped

    def join(self, session: str, value: list[Any]) -> None:
        self.wanted[session] = value
        self._note(session)

    def leave(self, session: str) -> None:
        if self.wanted.pop(session, None) is not None:
            self._note(session)

    def _note(self, session: str) -> None:
        self._changed[session] = None
        self._wake.set()

    def compare(self) -> None:
        """What the map has of this gateway may be anything: writes the whole difference."""
        self._is_all = True
        self._wake.set()

    def _loaded(self) -> None:
        """The map was read again, maybe of another stream."""
        self._stored_seq = 0
        self.compare()

    def _set(self, sessions: Iterable[str]) -> None:
        """What was sent long ago may be stored now, after what was sent later over another connection: it would stay for ever."""
        for session in sessions:
            entry = self.map.state.find(session)
            if session not in self.wanted and entry is not None and node_of(entry) == self._instance:
                self._note(session)

    def _dropped(self, node: str) -> None:
        if node == self._instance:
            log.warning(
                "presence %s: another gateway took this one for dead; its sessions join again", self.map.name
            )
            if self._activity is not None:
                for session, value in self.wanted.items():
                    self._activity.joined(self.map.name, session, value)
            self.compare()

    def detach(self) -> None:
        """The map tells it nothing any more; it may have another attendance from now on."""
        if self._is_attached:
            self._is_attached = False
            self._task.cancel()
            self.map.holds -= 1
            self.map.tell_loaded = _nothing
            self.map.tell_set = self.map.tell_dropped = _nothing_of

    async def end(self, *, at_once: bool) -> None:
        """``at_once``: the gateway ends, and takes all its entries with it."""
        self.detach()
        await asyncio.gather(self._task, return_exceptions=True)
        if at_once and self.map.stream.bus.connected:
            await self._put(Change(drop_node=self._instance))

    @property
    def is_over(self) -> bool:
        """Nobody is present any more, and that is written."""
        return not (self.wanted or self._changed or self._is_all or self._is_writing)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMPARE_S):
                    await self._wake.wait()
            self._is_all |= not self._wake.is_set()
            await asyncio.sleep(BATCH_S)
            self._wake.clear()
            self._is_writing = True
            is_written = await self._write()
            self._is_writing = False
            if not is_written:
                self.compare()
                await asyncio.sleep(RETRY_S)

    async def _write(self) -> bool:
        """Whether all of it was stored."""
        if not self.map.reader.is_read:
            return False
        if self._is_all:
            with suppress(TimeoutError):
                async with asyncio.timeout(PUT_S):
                    await self.map.reach(self._stored_seq)
        changes = list(self._changes())
        for number, change in enumerate(changes):
            if not await self._put(change):
                for each in changes[number:]:  # it may have been stored all the same
                    self._changed.update(dict.fromkeys((*each.set, *each.delete)))
                return False
        return True

    def _changes(self) -> Iterator[Change]:
        """What is to be written now, in as few changes as hold it."""
        sessions = dict(self._changed)
        if self._is_all:
            sessions.update(dict.fromkeys(key for key in self.wanted if self._is_missing(key)))
            sessions.update(dict.fromkeys(key for key in self._own() if key not in self.wanted))
        self._changed.clear()
        self._is_all = False
        wanted: dict[str, tuple[Any, int | None]] = {
            key: (self.wanted[key], None) for key in sessions if key in self.wanted
        }
        gone = [key for key in sessions if key not in self.wanted]
        yield from in_changes(wanted, gone)

    def _is_missing(self, key: str) -> bool:
        entry = self.map.state.find(key)
        return entry is None or entry.value != self.wanted[key]

    def _own(self) -> list[str]:
        return [key for key, entry in self.map.state.items() if node_of(entry) == self._instance]

    async def _put(self, change: Change) -> bool:
        stream = self.map.stream
        try:
            stored = await maps.put_change(stream.bus, stream.kind, self.map.name, change, timeout_s=PUT_S)
            self._stored_seq = max(self._stored_seq, stored.seq)
        except BusError as error:
            log.debug("presence %s: %s", self.map.name, error)
            return False
        return True


def in_changes(wanted: dict[str, tuple[Any, int | None]], gone: list[str]) -> Iterator[Change]:
    """As few changes as hold it."""
    for at in range(0, len(gone), MAX_CHANGE_KEYS):
        yield Change(delete=gone[at : at + MAX_CHANGE_KEYS])
    some: dict[str, tuple[Any, int | None]] = {}
    size = _ROOM
    for key, pair in wanted.items():
        took = len(encode_change(Change({key: pair})))
        if some and (len(some) == MAX_CHANGE_KEYS or size + took > MAX_CHANGE_BYTES):
            yield Change(some)
            some, size = {}, _ROOM
        some[key] = pair
        size += took
    if some:
        yield Change(some)


class Presence:
    """All attendance of this gateway."""

    def __init__(self, instance: str, activity: Activity | None = None) -> None:
        """``activity`` is told who joins and leaves; None where nobody wants to know."""
        self.instance = instance
        self._activity = activity
        self._topics: dict[str, Attendance] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def __len__(self) -> int:
        """Sessions that are present, once for each topic."""
        return sum(len(each.wanted) for each in self._topics.values())

    def join(self, each: OpenMap, session: str, value: list[Any]) -> None:
        attendance = self._topics.get(each.name)
        if attendance is None or attendance.map is not each:
            attendance = self._topics[each.name] = Attendance(each, self.instance, self._activity)
        if self._activity is not None and session not in attendance.wanted:
            self._activity.joined(each.name, session, value)
        attendance.join(session, value)

    def leave(self, topic: str, session: str) -> None:
        attendance = self._topics.get(topic)
        if attendance is None:
            return
        value = attendance.wanted.get(session)
        if self._activity is not None and value is not None:
            self._activity.left(topic, session, value)
        attendance.leave(session)

    def lost(self, each: OpenMap, node: str, rows: list[tuple[str, Any]]) -> None:
        """A gateway was dropped, and with it these entries."""
        if self._activity is not None:
            self._activity.dropped(each.name, node, rows, f"drop/{each.epoch}/{each.state.seq}")

    def look_at(self, each: OpenMap) -> None:
        """Call about once a second for each map of presence: entries of ours may have come late, where nobody of ours is any more."""
        if self._is_closed or each.name in self._topics:
            return
        if each.reader.is_read and self.instance in each.state.nodes():
            attendance = self._topics[each.name] = Attendance(each, self.instance, self._activity)
            attendance.compare()

    def sweep(self) -> None:
        """Call about once a second."""
        for topic, each in list(self._topics.items()):
            if each.is_over:
                del self._topics[topic]
                each.detach()
                task = asyncio.get_running_loop().create_task(each.end(at_once=False))
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """The gateway ends: its entries go."""
        self._is_closed = True
        topics, self._topics = self._topics, {}
        await asyncio.gather(*(each.end(at_once=True) for each in topics.values()), return_exceptions=True)


def _nothing() -> None:
    """Nobody is present any more."""


def _nothing_of(_: object) -> None:
    """Nobody is present any more."""
