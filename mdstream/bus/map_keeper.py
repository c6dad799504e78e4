"""What a map needs from time to time, of anybody who keeps it: keys whose time is over end, entries of a dead gateway go, and the
whole map is stored, so that the log may be short.

Several may do the same at once. Each of these is done once whatever they do: the log decides, and a whole map is stored by
compare-and-set.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from mdstream.bus import maps
from mdstream.bus.map_streams import PRESENCE
from mdstream.errors import BusConflict, BusError
from mdstream.maps import MAX_CHANGE_KEYS, Change, MapState

if TYPE_CHECKING:
    from mdstream.bus.map_reader import MapReader, MapStream

log = logging.getLogger("mdstream.bus.maps")

CHANGES: Final = 1_000
"""After so many changes the whole map is stored,"""
OLD_S: Final = 60.0
"""or when the oldest change that is in none is so old."""
MOST_ENDED: Final = 4_096
"""Keys whose time is over that are ended in a second, of one map."""
PUT_S: Final = 2.0
RETRY_US: Final = 2_000_000
"""What was published and did not come is published again after this."""


class KeptMap(Protocol):
    """A map that is read and kept up. ``changed_s``: when the oldest change came that is in no whole map; ``is_busy``: one is being
    stored."""

    name: str
    stream: MapStream
    reader: MapReader
    changed_s: float | None
    is_busy: bool

    @property
    def state(self) -> MapState: ...


class MapKeeper:
    """``look_after`` each map about once a second."""

    def __init__(
        self,
        *,
        wall_us: Callable[[], int],
        now_s: Callable[[], float],
        is_silent: Callable[[str], bool],
    ) -> None:
        self._wall_us = wall_us
        self._now_s = now_s
        self._is_silent = is_silent
        self._tasks: set[asyncio.Task[None]] = set()

    def look_after(self, each: KeptMap) -> None:
        """It must be read."""
        now_us = self._wall_us()
        due_us = each.state.next_due_us
        if due_us is not None and due_us <= now_us:
            self._end_keys(each, list(each.state.due(now_us, MOST_ENDED).items()))
        if each.stream.kind is PRESENCE:
            for node in each.state.nodes():
                if self._is_silent(node):
                    self._publish(each, Change(drop_node=node), node)
        if self._wants_whole(each):
            each.is_busy = True
            self._spawn(self._store_whole(each))

    def _end_keys(self, each: KeptMap, over: list[tuple[str, int]]) -> None:
        for at in range(0, len(over), MAX_CHANGE_KEYS):
            some = over[at : at + MAX_CHANGE_KEYS]
            self._publish(each, Change(expire=dict(some)), f"{sorted(some)}")

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _publish(self, each: KeptMap, change: Change, what: str) -> None:
        """Other gateways publish the same with the same id at about the same time: it is stored once."""
        text = f"{each.name} {what} {self._wall_us() // RETRY_US}"
        self._spawn(self._put(each, change, hashlib.sha256(text.encode()).hexdigest()[:32]))

    async def _put(self, each: KeptMap, change: Change, id: str) -> None:
        stream = each.stream
        try:
            await maps.put_change(stream.bus, stream.kind, each.name, change, id=id, timeout_s=PUT_S)
        except BusError as error:
            log.debug("map %s: %s", each.name, error)

    # ---- whole maps

    def _wants_whole(self, each: KeptMap) -> bool:
        changed_s = each.changed_s
        if each.is_busy or changed_s is None:
            return False
        return each.reader.changes >= _changes_between(each) or self._now_s() - changed_s >= OLD_S

    async def _store_whole(self, each: KeptMap) -> None:
        try:
            await self._store(each)
        except BusConflict:
            log.debug("map %s: another gateway stored it", each.name)
        except BusError as error:
            log.warning("map %s cannot be stored as a whole: %s", each.name, error)
            each.changed_s = self._now_s()
        finally:
            each.is_busy = False

    async def _store(self, each: KeptMap) -> None:
        """Stores it, unless another gateway did; then removes what nobody needs any more."""
        stream, reader = each.stream, each.reader
        known = await maps.whole_of(stream.bus, stream.kind, each.name)
        if known.seq > reader.whole.seq:
            self._took_over(each, known)
            if reader.changes < _changes_between(each):
                return
        before = reader.recent[0] if len(reader.recent) == reader.recent.maxlen else 0
        made = await maps.write_map(
            stream.bus, stream.kind, each.name, reader.state, expected_seq=known.stream_seq
        )
        self._took_over(each, made)
        await maps.forget_pages(stream.bus, stream.kind, each.name, known)
        if before:
            await maps.forget_changes(stream.bus, stream.kind, each.name, before)

    def _took_over(self, each: KeptMap, whole: maps.Whole) -> None:
        """There is a whole map up to a number."""
        reader = each.reader
        reader.whole = whole
        reader.changes = sum(seq > whole.seq for seq in reader.recent)
        each.changed_s = self._now_s() if reader.changes else None


def _changes_between(each: KeptMap) -> int:
    """Two whole maps: more where they are large, but well below what the log keeps."""
    return max(CHANGES, min(len(each.state) // 16, 4 * CHANGES))
