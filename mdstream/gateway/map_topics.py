"""All maps that this gateway keeps, of users and of presence: read while somebody asks, once for all who do."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mdstream.bus.map_keeper import MapKeeper
from mdstream.bus.map_reader import MapReader, MapStream
from mdstream.bus.map_streams import MAPS, PRESENCE
from mdstream.codes import ErrorCode
from mdstream.errors import BusError, CommandError
from mdstream.gateway.fair_places import Asker, FairPlaces
from mdstream.gateway.open_map import Lost, OpenMap
from mdstream.gateway.openings import Openings
from mdstream.gateway.turns import Wake, at_once
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic_composed import ComposedTopic
    from mdstream.bus import Bus
    from mdstream.gateway.config import GatewayConfig

log = logging.getLogger("mdstream.gateway.maps")

KEPT_S: Final = 30.0
"""How long one is kept that nobody asks for: clients come back, and resume."""
LOOK_S: Final = 5.0
"""How often it is looked whether the streams are still the same ones."""

Replaced = Callable[[list["ComposedTopic"]], None]
_Key: TypeAlias = tuple[Channel, str]


class MapTopics:
    """Make it, then ``use`` a bus when there is one; ``sweep`` about once a second."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        *,
        wall_us: Callable[[], int],
        now_s: Callable[[], float],
        replaced: Replaced,
        told: Callable[[OpenMap], None],
        is_silent: Callable[[str], bool],
        lost: Lost | None = None,
        wake: Wake = at_once,
    ) -> None:
        """``replaced``: what clients have of these topics means nothing any more. ``told``: a map has become stale, or is not any
        more. ``is_silent``: whether a gateway gave no sign of life. ``lost``: see
        ``OpenMap.tell_lost``. ``wake`` is given what lets tasks go on."""
        self._places = FairPlaces(config.max_maps)
        self._most_bytes = config.max_map_bytes
        self._hub = hub
        self._wall_us = wall_us
        self._now_s = now_s
        self._replaced = replaced
        self._told = told
        self._lost = lost
        self._streams: dict[Channel, MapStream] = {}
        self._maps: dict[_Key, OpenMap] = {}
        self._keeper = MapKeeper(wall_us=wall_us, now_s=now_s, is_silent=is_silent)
        self._looked_s = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = wake
        self._openings: Openings[_Key, Asker] = Openings(self._open, self._is_open, wake=wake)

    def __iter__(self) -> Iterator[OpenMap]:
        return iter(list(self._maps.values()))

    def __len__(self) -> int:
        return len(self._maps)

    @property
    def invalid_total(self) -> int:
        return sum(each.invalid_total for each in self._streams.values())

    def of(self, channel: Channel) -> list[OpenMap]:
        return [found for (each, _), found in self._maps.items() if each is channel]

    def count(self, channel: Channel) -> int:
        return sum(1 for each, _ in self._maps if each is channel)

    def use(self, bus: Bus) -> None:
        """Makes it possible to read."""
        self._streams = {Channel.MAP: MapStream(bus, MAPS), Channel.PRESENCE: MapStream(bus, PRESENCE)}

    def find(self, channel: Channel, topic: str) -> OpenMap | None:
        """One that is read and kept up; None: ``open`` it."""
        found = self._maps.get((channel, topic))
        if found is None or not found.reader.is_read:
            return None
        found.asked_s = self._now_s()
        return found

    async def open(self, channel: Channel, topic: str, asker: Asker) -> OpenMap:
        """Reads it, unless it is read; bound the time. Askers take turns. Raises CommandError ``unavailable``."""
        while (found := self.find(channel, topic)) is None:  # it may be given up before this goes on
            await self._openings.wait(asker, (channel, topic))
        return found

    def _is_open(self, key: _Key) -> bool:
        return self.find(*key) is not None

    async def _open(self, key: _Key, asker: Asker) -> None:
        channel, topic = key
        stream = self._streams.get(channel)
        if stream is None or not stream.bus.connected:
            raise CommandError(ErrorCode.UNAVAILABLE, "NATS is not connected; try again")
        found = self._maps.get(key) or self._make(stream, channel, topic, asker)
        found.asked_s = self._now_s()
        await found.reader.open()

    def _make(self, stream: MapStream, channel: Channel, topic: str, asker: Asker) -> OpenMap:
        if not self._has_bytes(asker) or self._places.should_give_up(asker, self._now_s()):
            self._give_up(self._now_s())
        if not self._places.has_room(asker) or not self._has_bytes(asker):
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "this gateway keeps as many maps as it can for you; end others, or try another gateway",
            )
        found = self._maps[channel, topic] = OpenMap(
            stream,
            topic,
            self._hub,
            make_reader=MapReader,
            wall_us=self._wall_us,
            now_s=self._now_s,
            replaced=lambda _, topics: self._replaced(topics),
        )
        found.asker = asker
        if channel is Channel.PRESENCE:
            found.tell_lost = self._lost
        self._places.take(asker)
        return found

    def _has_bytes(self, asker: Asker) -> bool:
        """As places are shared: who has opened as many bytes as are free may open no more."""
        sizes: Counter[Hashable] = Counter()
        for each in self._maps.values():
            sizes[each.asker] += each.state.bytes
        free = self._most_bytes - sizes.total()
        return free > (sizes[asker] if asker.is_counted else 0)

    # ---- upkeep

    def sweep(self) -> None:
        """Call about once a second: gives up what nobody asks for, stores whole maps, ends what is over."""
        if not self._maps:
            return
        self._give_up(self._now_s() - KEPT_S)
        for stream in self._streams.values():
            stream.publisher.tick()
        for each in self:
            if each.reader.is_read and each.stream.bus.connected:
                self._keeper.look_after(each)
            self._look_at(each)
        if self._now_s() - self._looked_s >= LOOK_S:
            self._looked_s = self._now_s()
            self._spawn(self._look())

    def _look_at(self, each: OpenMap) -> None:
        """Whether it is what the bus has, as far as can be known."""
        is_lost = not each.stream.bus.connected or (each.was_read and not each.reader.is_read)
        if not each.stale_us and is_lost:
            each.stale_us = self._wall_us()
            self._told(each)
        elif each.stale_us and not is_lost and each.reader.is_following:
            each.stale_us, each.live_us = 0, self._wall_us()
            self._told(each)

    async def _look(self) -> None:
        """A stream in memory is lost with its server, and nothing tells."""
        for stream in self._streams.values():
            if stream.readers and stream.bus.connected:
                try:
                    await stream.look()
                except BusError as error:
                    log.debug("%s cannot be looked at: %s", stream.kind.stream, error)

    def _give_up(self, idle_before_s: float) -> None:
        for key, each in list(self._maps.items()):
            if each.is_used:
                each.asked_s = self._now_s()
            elif each.asked_s <= idle_before_s and not each.is_busy:
                del self._maps[key]
                self._places.release(each.asker)
                each.close()
                self._wake(partial(self._end, each.reader), None)  # thousands may go in one sweep

    def _end(self, reader: MapReader) -> None:
        self._spawn(reader.close())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await self._keeper.close()
        await self._openings.close()
        for each in self:
            each.close()
        self._maps.clear()
        for stream in self._streams.values():
            await stream.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
