"""Tells one webhook one stream: a batch at a time, in the order of the stream."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

import nats.errors
from msgspec.structs import replace

from mdstream.bus import streams
from mdstream.bus.activity import ACTIVITY_SUBJECT, MD_ACTIVITY
from mdstream.bus.direct import DirectReader
from mdstream.bus.stored_message import Numbered
from mdstream.bus.topic_streams import EVENT_SUBJECT, MD_EVENTS
from mdstream.bus.webhook_places import Place, PlaceKeeper
from mdstream.errors import BusUnavailable
from mdstream.webhooks.batches import MOST_BYTES, BatchMaker
from mdstream.webhooks.hooks import Hook
from mdstream.webhooks.options import WebhookOptions
from mdstream.webhooks.posting import Poster

if TYPE_CHECKING:
    from mdstream.bus import Bus

logger = logging.getLogger("mdstream.webhooks")

SUBJECTS: Final = {MD_EVENTS: f"{EVENT_SUBJECT}.>", MD_ACTIVITY: f"{ACTIVITY_SUBJECT}.*"}
MOST_MESSAGES: Final = 100
"""Of one answer of the stream: more would not fit into a batch."""
LOOK_S: Final = 5.0
"""How often the stream is asked whether it is the same as before, and how far it is."""
PASSED: Final = 1_000
"""So many numbers that hold nothing for this webhook are passed before its place is stored,"""
PASSED_S: Final = 30.0
"""or so much time."""
RETRY_S: Final = 0.25


class Lane:
    """``run`` it. ``behind``: how many numbers of the stream are not told or passed yet, when it was last looked at."""

    def __init__(
        self, bus: Bus, hook: Hook, stream: str, options: WebhookOptions, counters: Counter[tuple[str, str]]
    ) -> None:
        self.hook = hook
        self.stream = stream
        self.behind = 0
        self._bus = bus
        self._options = options
        self._counters = counters
        self._reader = DirectReader(bus, stream)
        self._keeper = PlaceKeeper(bus, hook.name, stream)
        self._poster = Poster(hook, options, counters)
        self._maker = BatchMaker(hook, stream)
        self._stored = Place(0, 0, 0)
        self._stored_s = self._looked_s = float("-inf")
        self._said = ""

    async def run(self) -> None:
        """Until it is cancelled. Raises BusConflict, where another sender goes on, and BusError."""
        await self._reader.begin()
        try:
            place = await self._begin()
            while True:
                try:
                    place = await self._step(await self._look(place))
                    self._said = ""
                except BusUnavailable as error:
                    await self._wait_for_nats(error)
        finally:
            await self._reader.close()

    # ---- where it stands

    async def _begin(self) -> Place:
        created_us, last_seq = await self._info()
        place = await self._keeper.read()
        if place is None:
            place = Place(created_us, last_seq, last_seq)
            await self._keeper.store(place)
            logger.info(
                "webhook %s: new; it is told what comes to %s from now on", self.hook.name, self.stream
            )
        self._stored, self._stored_s = place, self._options.now_s()
        return place

    async def _look(self, place: Place) -> Place:
        """The place in the stream as it is now."""
        if self._options.now_s() - self._looked_s < LOOK_S:
            return place
        created_us, last_seq = await self._info()
        self._looked_s = self._options.now_s()
        if place.epoch != created_us:
            logger.warning(
                "webhook %s: %s is another stream than before; it is told from its beginning",
                self.hook.name,
                self.stream,
            )
            place = Place(created_us, 0, 0, place.gave_up)
        self.behind = max(last_seq - place.done, 0)
        return place

    async def _info(self) -> tuple[int, int]:
        """When the stream was created, in µs, and the number of its newest message. Raises BusError."""
        try:
            found = await streams.info(self._bus.jetstream, self.stream)
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{self.stream} cannot be asked for")
        return streams.created_us(found), int(found["state"]["last_seq"])

    async def _store(self, place: Place) -> None:
        """Raises BusConflict, BusError. While NATS is away it waits."""
        while True:
            try:
                await self._keeper.store(place)
                break
            except BusUnavailable as error:
                await self._wait_for_nats(error)
        self._stored, self._stored_s = place, self._options.now_s()

    async def _wait_for_nats(self, error: BusUnavailable) -> None:
        if str(error) != self._said:
            self._said = str(error)
            logger.warning("webhook %s: %s; trying again", self.hook.name, error)
        await asyncio.sleep(RETRY_S)

    # ---- batches

    async def _step(self, place: Place) -> Place:
        """Tells the next batch; returns where it stands then."""
        messages, has_more = await self._read(place)
        batch = self._maker.make(place, messages)
        self._count("refused", batch.refused)
        if not batch.records:
            return await self._pass(replace(place, done=batch.until, until=batch.until), has_more=has_more)
        sending = replace(place, until=batch.until)
        if sending != self._stored:
            await self._store(sending)
        self._options.at("stored")
        self._count("lost", batch.lost)
        is_taken = await self._poster.deliver(batch)
        self._options.at("sent")
        first = place.gave_up[0] if place.gave_up else place.done + 1
        return Place(place.epoch, batch.until, batch.until, None if is_taken else (first, batch.until))

    async def _read(self, place: Place) -> tuple[list[Numbered], bool]:
        """What follows, all of the batch that ``place`` names included; and whether there is more."""
        subject = SUBJECTS[self.stream]
        found = await self._reader.read(subject, place.done + 1, most=MOST_MESSAGES, most_bytes=MOST_BYTES)
        messages, has_more = found.messages, found.has_more
        while messages and has_more and messages[-1].seq < place.until:
            found = await self._reader.read(
                subject, messages[-1].seq + 1, most=MOST_MESSAGES, most_bytes=MOST_BYTES
            )
            messages, has_more = messages + found.messages, found.has_more and bool(found.messages)
        return messages, has_more

    async def _pass(self, place: Place, *, has_more: bool) -> Place:
        """Nothing more is to be told now, or nothing of what was read."""
        if place != self._stored:
            was_sending = self._stored.until > self._stored.done
            waited_s = self._options.now_s() - self._stored_s
            if was_sending or place.done - self._stored.done >= PASSED or waited_s >= PASSED_S:
                await self._store(place)
        if not has_more:
            await asyncio.sleep(self._options.poll_s)
        return place

    def _count(self, what: str, more: int) -> None:
        self._counters[self.hook.name, what] += more
