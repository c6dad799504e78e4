"""Shows in the maps of users which of their alerts have fired: by compare-and-set, so that an edit at the same moment wins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from mdstream.alert import FIRED, SENDER
from mdstream.alerts.maps import AlertMaps
from mdstream.alerts.watched import Watched
from mdstream.bus import Bus
from mdstream.bus.map_streams import MAPS
from mdstream.bus.maps import put_change
from mdstream.errors import BusError
from mdstream.maps import Change, Entry

logger = logging.getLogger("mdstream.alerts")

EVERY_S: Final = 1.0
"""The least time between two marks of an alert."""
LOOK_S: Final = 0.05
PUT_S: Final = 5.0
TOLD_EVERY_S: Final = 60.0
MOST: Final = 256
"""Marks at a time."""


class Marks:
    """``want`` an alert; ``work`` does it. What was not done is wanted again by whoever finds that a map shows something else."""

    def __init__(
        self,
        bus: Bus,
        maps: AlertMaps,
        *,
        now_s: Callable[[], float],
        wall_us: Callable[[], int],
        at: Callable[[str], object],
    ) -> None:
        self._bus = bus
        self._maps = maps
        self._now_s = now_s
        self._wall_us = wall_us
        self._at = at
        self._wanted: dict[Watched, None] = {}
        self._told_s = float("-inf")

    def want(self, watched: Watched) -> None:
        """Its map is to show how often it has fired."""
        self._wanted[watched] = None

    async def work(self) -> None:
        """Until it is cancelled. What cannot be stored is tried again: alerts are told all the same."""
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = self._now_s()
            due = [each for each in self._wanted if each.mark_s <= now_s][:MOST]
            await asyncio.gather(*map(self._mark, due))

    async def _mark(self, watched: Watched) -> None:
        self._wanted.pop(watched, None)
        entry, mark = self._entry(watched), watched.mark
        if entry is None or mark is None or entry.value.get(FIRED) == mark.value():
            return
        watched.mark_s = self._now_s() + EVERY_S
        value: Mapping[str, Any] = {**entry.value, FIRED: mark.value()}
        change = Change(
            {watched.key: (value, self._left_ms(entry))}, expect={watched.key: entry.rev}, by=SENDER
        )
        self._wanted[watched] = None  # looked at again: it may not have been applied
        try:
            await put_change(self._bus, MAPS, watched.topic, change, timeout_s=PUT_S)
        except BusError as error:
            self._tell(error)
            return
        self._at("marked")

    def _tell(self, error: BusError) -> None:
        """From time to time: there may be many marks."""
        now_s = self._now_s()
        if now_s - self._told_s >= TOLD_EVERY_S:
            self._told_s = now_s
            logger.warning("maps do not show now which alerts have fired: %s; it is tried again", error)

    def _entry(self, watched: Watched) -> Entry | None:
        """What the map holds of it; None if its user has removed or changed it."""
        found = self._maps.find(watched.topic)
        entry = None if found is None else found.state.find(watched.key)
        return entry if entry is not None and not watched.is_gone and entry.rev == watched.entry_rev else None

    def _left_ms(self, entry: Entry) -> int | None:
        """A mark does not make it last longer."""
        if entry.expires_us is None:
            return None
        return max((entry.expires_us - self._wall_us()) // 1000, 1)
