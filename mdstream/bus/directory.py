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
from mdstream.bus.held import Held
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
_SUBJECTS: Final = "md.*.*.ref"
_SLICE: Final = 100
"""References that are read before others have their turn of the loop."""


class Directory(Held):
    """The newest ``ref`` of every instrument, while somebody asks."""

    def __init__(
        self,
        bus: Bus,
        announcements: Announcements,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        super().__init__(bus)
        self._announcements = announcements
        self._wall_clock_us = wall_clock_us
        self._refs: dict[str, Ref] = {}
        self._sorted: tuple[int, list[str]] = (-1, [])
        self._heard: set[str] = set()
        """Announced since the present reading began."""
        self._told_full = False
        self._is_read = asyncio.Event()
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

    def _clear(self) -> None:
        self._announcements.listener = None
        self._refs.clear()
        self._is_read.clear()
        self.version += 1
        self._changes.clear()

    # ---- reading

    async def _follow(self) -> None:
        said = ""
        self._announcements.listener = self._announced
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
