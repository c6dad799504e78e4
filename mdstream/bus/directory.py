"""Which instruments there are: read from MD_STATE while somebody asks, and kept up by what writers announce meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.bus.epochs import check_plausible, scale
from mdstream.bus.log import newest
from mdstream.bus.streams import MD_STATE
from mdstream.bus.subjects import parse_subject
from mdstream.errors import BusError, BusUnavailable, FeedError
from mdstream.model import InstrumentId, Ref

if TYPE_CHECKING:
    from mdstream.bus.announcements import Announcements
    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

MOST: Final = 100_000
"""Instruments that are listed; what is beyond is left out, and logged."""
AGAIN_S: Final = 60.0
"""Between two readings: an instrument whose ``ref`` was purged is noticed by its absence."""
RETRY_S: Final = 1.0
MOST_CHANGES: Final = 4_096
"""That are remembered by name."""
KEPT_S: Final = 30.0
"""How long the list is kept after the last one who asked."""
_SUBJECTS: Final = "md.*.*.ref"
_SLICE: Final = 100
"""References that are read before others have their turn of the loop."""


class Directory:
    """The newest ``ref`` of every instrument. Nothing is read until the first ``hold``; some time after the last ``release`` it is
    forgotten."""

    def __init__(
        self,
        bus: Bus,
        announcements: Announcements,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._bus = bus
        self._announcements = announcements
        self._wall_clock_us = wall_clock_us
        self._refs: dict[str, Ref] = {}
        self._sorted: tuple[int, list[str]] = (-1, [])
        self._heard: set[str] = set()
        """Announced since the present reading began."""
        self._holds = 0
        self._told_full = False
        self._task: asyncio.Task[None] | None = None
        self._forgetting: asyncio.TimerHandle | None = None
        self._is_read = asyncio.Event()
        self._again = asyncio.Event()
        self._unregister: Callable[[], None] | None = None
        self.version = 0
        """Grows by one with each change of ``refs``."""
        self._changes: deque[str] = deque(maxlen=MOST_CHANGES)
        """The names of the newest of those."""

    @property
    def refs(self) -> Mapping[str, Ref]:
        """By the name of the instrument."""
        return MappingProxyType(self._refs)

    @property
    def names(self) -> list[str]:
        """In order; not to be changed."""
        version, names = self._sorted
        if version != self.version:
            names = sorted(self._refs)
            self._sorted = self.version, names
        return names

    def changes(self, since: int) -> list[str] | None:
        """The names in which anything has changed since a version; None if that is not known any more."""
        count = self.version - since
        if not 0 <= count <= len(self._changes):
            return None
        return list(islice(self._changes, len(self._changes) - count, None))

    # ---- who asks

    def hold(self) -> None:
        """Somebody asks, until ``release``."""
        self._holds += 1
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if self._task is None:
            self._announcements.listener = self._announced
            self._unregister = self._bus.on_reconnect(self._again.set)
            self._task = asyncio.get_running_loop().create_task(self._keep_reading())

    def release(self) -> None:
        self._holds -= 1
        if not self._holds and self._task is not None:
            self._forgetting = asyncio.get_running_loop().call_later(KEPT_S, self._forget)

    async def ready(self, deadline_s: float) -> None:
        """Returns once the list is there; hold it before. Raises BusUnavailable after so many seconds."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._is_read.wait()
        except TimeoutError:
            raise BusUnavailable("the instruments cannot be listed now: NATS does not answer") from None

    @property
    def is_ready(self) -> bool:
        return self._is_read.is_set()

    async def close(self) -> None:
        task = self._task
        self._forget()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _forget(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if self._task is None:
            return
        self._task.cancel()
        self._task = None
        self._announcements.listener = None
        if self._unregister is not None:
            self._unregister()
        self._refs.clear()
        self._is_read.clear()
        self.version += 1
        self._changes.clear()

    # ---- reading

    async def _keep_reading(self) -> None:
        said = ""
        while True:
            delay_s = AGAIN_S
            self._again.clear()
            try:
                await self._read()
                said = ""
            except BusError as error:
                delay_s = RETRY_S
                if str(error) != said:
                    said = str(error)
                    logger.debug("the instruments cannot be listed: %s; trying again", said)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._again.wait()

    async def _read(self) -> None:
        """Takes every stored ``ref``, and forgets the instruments that have none any more."""
        if not self._bus.connected:
            raise BusUnavailable("NATS is not connected")
        self._heard.clear()
        stored: set[str] = set()
        bus = self._bus
        reading = newest(bus.client, bus.jetstream, MD_STATE, _SUBJECTS, bus.options.replay_silence_s)
        async with aclosing(reading) as messages:
            number = 0
            async for message in messages:
                number += 1
                instrument = self._take_stored(message.subject, message.payload)
                if instrument is not None:
                    stored.add(instrument)
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
        for name in self._refs.keys() - stored - self._heard:
            del self._refs[name]
            self._note_change(name)
        self._is_read.set()

    def _take_stored(self, subject: bytes, payload: bytes) -> str | None:
        try:
            instrument, _ = parse_subject(subject.decode())
            InstrumentId.parse(str(instrument))
            ref = decode_payload("ref", payload)[-1]
            check_plausible(ref.epoch, self._wall_clock_us())
        except (ValueError, FeedError):
            return None  # who opens it is told why
        self._take(instrument, ref)
        return str(instrument)

    def _announced(self, instrument: InstrumentId, ref: Ref) -> None:
        self._heard.add(str(instrument))
        self._take(instrument, ref)

    def _take(self, instrument: InstrumentId, ref: Ref) -> None:
        """Of one epoch, the first scale counts."""
        name = str(instrument)
        known = self._refs.get(name)
        if known is None and len(self._refs) >= MOST:
            if not self._told_full:
                self._told_full = True
                logger.warning("there are more than %d instruments; %s and others are not listed", MOST, name)
            return
        if known is not None:
            if ref == known or ref.epoch < known.epoch:
                return
            if ref.epoch == known.epoch and scale(ref) != scale(known):
                return
        self._refs[name] = ref
        self._note_change(name)

    def _note_change(self, name: str) -> None:
        self.version += 1
        self._changes.append(name)
