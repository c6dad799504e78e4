"""The maps of all users' alerts, kept equal to the bus, and looked after as gateways look after theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mdstream.alerts.tasks import all_of
from mdstream.bus import Bus
from mdstream.bus.alerts import alert_topics
from mdstream.bus.map_keeper import MapKeeper
from mdstream.bus.map_reader import MapReader, MapStream
from mdstream.bus.map_streams import LIVE, MAPS
from mdstream.errors import BusError, BusUnavailable
from mdstream.maps import Applied, Change, MapState
from mdstream.topics import ALERTS, check_topic, is_of_alerts

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

logger = logging.getLogger("mdstream.alerts")

SWEEP_S: Final = 1.0
LOOK_S: Final = 10.0
"""How often it is looked whether there are maps that nobody told of, and whether the stream is still the same one."""
AT_ONCE: Final = 32
MOST_TOLD: Final = 100
"""Maps that cannot be read of which the log tells."""


class AlertMap:
    """The alerts of one user."""

    def __init__(self, stream: MapStream, topic: str, changed: Callable[[AlertMap], object]) -> None:
        self.name = topic
        self.stream = stream
        self.changed_s: float | None = None
        self.is_busy = False
        self._changed = changed
        self.reader = MapReader(stream, topic, began=self._begin, followed=self._follow, ready=self._ready)

    @property
    def state(self) -> MapState:
        return self.reader.state

    async def _begin(self) -> None:
        self.changed_s = None

    def _follow(self, _: Change | None, __: Applied) -> None:
        if self.changed_s is None:
            self.changed_s = asyncio.get_running_loop().time()
        if self.reader.is_read:
            self._changed(self)

    def _ready(self) -> None:
        self._changed(self)


class AlertMaps:
    """``begin`` it; ``changed`` is called with each map that is read or has changed."""

    def __init__(
        self,
        bus: Bus,
        changed: Callable[[AlertMap], object],
        *,
        wall_us: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._changed = changed
        self._stream = MapStream(bus, MAPS)
        self._heard: Subscription | None = None
        self._maps: dict[str, AlertMap] = {}
        self._found: set[str] = set()
        """Topics that were heard of, and are not read yet."""
        self._left_out: set[str] = set()
        """Those of which it was told that they cannot be read."""
        self._keeper = MapKeeper(
            wall_us=wall_us, now_s=asyncio.get_running_loop().time, is_silent=lambda _: False
        )

    def find(self, topic: str) -> AlertMap | None:
        return self._maps.get(topic)

    async def begin(self) -> None:
        """Reads all that there are. Raises BusError, BusUnavailable."""
        await self._stream.begin()
        self._heard = await self._bus.subscribe(f"{LIVE}.{MAPS.subject}.{ALERTS}.*", self._hear)
        self._found |= await alert_topics(self._bus)
        await self._open_found()

    async def work(self) -> None:
        """Reads new maps, and does what maps need from time to time; until it is cancelled. Raises BusError, BusUnavailable."""
        loop = asyncio.get_running_loop()
        swept_s = looked_s = loop.time()
        while True:
            await asyncio.sleep(0.02 if self._found else 0.1)
            await self._open_found()
            if loop.time() - swept_s >= SWEEP_S:
                swept_s = loop.time()
                self._sweep()
            if loop.time() - looked_s >= LOOK_S:
                looked_s = loop.time()
                await self._stream.look()
                self._found |= await alert_topics(self._bus) - self._maps.keys()

    async def close(self) -> None:
        await self._keeper.close()
        if self._heard is not None:
            await self._bus.unsubscribe(self._heard)
        await self._stream.close()

    def _hear(self, subject: bytes, *_: object) -> None:
        topic = subject.decode("ascii", "replace").removeprefix(f"{LIVE}.{MAPS.subject}.")
        if topic not in self._maps:
            self._found.add(topic)

    async def _open_found(self) -> None:
        while self._found:
            some = [self._found.pop() for _ in range(min(AT_ONCE, len(self._found)))]
            await all_of(self._open(each) for each in some if _is_ours(each) and each not in self._maps)

    async def _open(self, topic: str) -> None:
        """A map that cannot be read is left out, and found again later: the alerts of others do not wait for it."""
        each = self._maps[topic] = AlertMap(self._stream, topic, self._changed)
        try:
            await each.reader.open()
        except BusUnavailable:
            raise
        except BusError as error:
            self._leave_out(topic, error)
        finally:
            if not each.reader.is_read:
                self._maps.pop(topic, None)
                await each.reader.close()

    def _leave_out(self, topic: str, error: BusError) -> None:
        """Tells it once."""
        if topic not in self._left_out and len(self._left_out) < MOST_TOLD:
            self._left_out.add(topic)
            logger.warning("%s is not watched, as it cannot be read: %s", topic, error)

    def _sweep(self) -> None:
        for each in self._maps.values():
            if each.reader.is_read and self._bus.connected:
                self._keeper.look_after(each)


def _is_ours(topic: str) -> bool:
    """Whether a gateway could have stored it: on the bus it may be any text."""
    try:
        return is_of_alerts(check_topic(topic))
    except ValueError:
        return False
