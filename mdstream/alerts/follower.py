"""Reads the book or the trades of one instrument from ``MD_LOG``, and shows them to the alerts that are on them.

Live messages on the subject only wake it: what counts is what the log has, with its numbers. So a follower that begins again goes on where
the one before it stood.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mdstream._core.codec.feed_decoder import SnapValue, decode_payload
from mdstream.alerts.tasks import all_of
from mdstream.alerts.tracks import BookTrack, Outcome, Track, TradeTrack
from mdstream.alerts.watched import Crossing, Watched
from mdstream.bus import Bus, subject
from mdstream.bus.alerts import Place, place_subject, put_place, read_place
from mdstream.bus.direct import DirectReader
from mdstream.bus.stored_message import Numbered
from mdstream.errors import FeedError
from mdstream.model import InstrumentId

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

logger = logging.getLogger("mdstream.alerts")

LOOK_S: Final = 5.0
"""How often the log is looked at where nothing wakes."""
GAP_S: Final = 0.005
"""After a look that found something: so often a busy instrument is read, at most."""
PAUSE_S: Final = 0.001
"""After a look that found nothing, doubled with each, unless it is woken before;"""
LOOKS: Final = 8
"""after so many of these it waits until it is woken."""
OPEN_S: Final = 0.1
MOST_OPEN_S: Final = 5.0
"""Between two tries to begin, doubled with each."""
HELD_S: Final = 0.1
"""Between two tries of a message that cannot be taken yet."""
BOOK_HOLE_S: Final = 12.0
TRADE_HOLE_S: Final = 2.0
"""After this a message that nothing leads to is passed over, or numbers that are missing are given up."""
IN_A_TURN: Final = 256
"""Alerts that begin in one turn of the loop."""
BEFORE_US: Final = 5_000_000
"""How much earlier than a snapshot the log is read: two streams, two clocks of the server's."""
TRADES_BEFORE_US: Final = 60_000_000
"""How far back the last trade before an alert is looked for."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What all followers share."""

    bus: Bus
    log: DirectReader
    state: DirectReader
    log_us: int
    """When ``MD_LOG`` was created: of another one the numbers mean nothing."""
    settle: Callable[[list[Crossing]], Awaitable[None]]
    """Returns once the crossings are recorded and told."""
    record: Callable[[list[Watched]], Awaitable[None]]
    """Returns once the records of these alerts are stored."""
    now_s: Callable[[], float]
    wall_us: Callable[[], int]
    place_s: float
    at: Callable[[str], object]
    """Called between two steps; tests stop there."""


class Follower:
    """``run`` it. Raises BusError where it must be made anew from what is stored, BusConflict where another watcher is active."""

    def __init__(self, sources: Sources, instrument: InstrumentId, stream: str) -> None:
        """``stream``: book or trade."""
        self.instrument = instrument
        self.stream = stream
        self.alerts: set[Watched] = set()
        self.idle_s: float | None = None
        """Since when it has had no alerts."""
        self.place_subject = place_subject(instrument, stream)
        self._sources = sources
        self._subject = subject(instrument, stream)
        self._track: Track = BookTrack(str(instrument)) if stream == "book" else TradeTrack()
        self._added: dict[Watched, None] = {}
        self._scales: dict[int, int] = {}
        self._woken = asyncio.Event()
        self._quiet = 0
        """How many looks found nothing since it was woken."""
        self._held_s: float | None = None
        """Since when a message cannot be taken."""
        self._place_seq = 0
        self._place: Place | None = None
        """What is stored next, once all alerts that were set before it are known."""
        self._due: tuple[Place, list[Watched]] | None = None
        """What is stored after that, and the alerts whose records must be stored before."""
        self._is_due = asyncio.Event()
        self._stored = (0, -1)
        """What is stored of it."""
        self._placed_s = float("-inf")

    @property
    def has_begun(self) -> bool:
        """Whether it has found the instrument."""
        return self._place is not None

    @property
    def refused(self) -> int:
        return self._track.refused

    # ---- alerts

    def add(self, watched: Watched) -> None:
        self.alerts.add(watched)
        self._added[watched] = None
        self._wake()

    def remove(self, watched: Watched) -> None:
        self.alerts.discard(watched)
        self._added.pop(watched, None)
        self._track.remove(watched)

    # ---- work

    async def run(self) -> None:
        sources = self._sources
        wake = await sources.bus.subscribe(self._subject, self._wake)
        try:
            await self._keep_opening()
            await all_of((self._follow(), self._keep_places()))
        finally:
            await self._unsubscribe(wake)

    async def _keep_opening(self) -> None:
        delay_s = OPEN_S
        while not await self._open():
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, MOST_OPEN_S)

    async def _follow(self) -> None:
        while True:
            self._woken.clear()
            before = self._track.at
            has_more = await self._round()
            self._quiet = 0 if self._track.at > before else self._quiet + 1
            self._note_place()
            await self._rest(has_more)

    async def _rest(self, has_more: bool) -> None:
        """A message may come live before the log has it: so it is looked for a few times. What comes after a pause is read at once."""
        if self._held_s is not None:
            await asyncio.sleep(HELD_S)
        elif not has_more and not self._quiet:
            await asyncio.sleep(GAP_S)
        elif not has_more:
            await self._wait(PAUSE_S * 2**self._quiet if self._quiet < LOOKS else LOOK_S)

    async def _unsubscribe(self, wake: Subscription) -> None:
        with suppress(Exception):
            await self._sources.bus.unsubscribe(wake)

    def _wake(self, *_: object) -> None:
        self._quiet = 0
        self._woken.set()

    async def _wait(self, most_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._woken.wait()

    async def _round(self) -> bool:
        """Reads what the log has; returns whether it has more."""
        track, sources = self._track, self._sources
        await self._take_added()
        fresh = track.fresh
        # Of these nothing is unread that was stored before them, once the log has no more.
        batch = await sources.log.read(self._subject, track.at + 1)
        for number, message in enumerate(batch.messages):
            if not await self._take(message, batch.messages[number + 1 :]):
                return True
        if not batch.has_more:
            for at in range(0, len(fresh), IN_A_TURN):
                await self._settle(track.begin(fresh[at : at + IN_A_TURN]))
                await asyncio.sleep(0)
        return batch.has_more

    async def _take_added(self) -> None:
        """Thousands may come at once: others get their turn between them."""
        added, self._added = self._added, {}
        for number, watched in enumerate(added, 1):
            if watched in self.alerts:
                await self._settle(self._track.add(watched))
            if number % IN_A_TURN == 0:
                await asyncio.sleep(0)

    async def _settle(self, crossings: list[Crossing]) -> None:
        if crossings:
            self._sources.at("crossed")
            await self._sources.settle(crossings)

    async def _take(self, message: Numbered, rest: list[Numbered]) -> bool:
        """Whether it is done with."""
        track = self._track
        while True:
            outcome, crossings = track.feed(message, self._scales, self._sources.wall_us())
            await self._settle(crossings)
            if outcome is Outcome.TAKEN:
                self._held_s = None
                return True
            if await self._mend(outcome):
                continue
            is_overtaken = track.is_overtaken(rest)
            if not is_overtaken and not self._is_tired():
                return False
            track.give_up(message, outcome, is_overtaken=is_overtaken)

    def _is_tired(self) -> bool:
        """Whether a message was tried for long enough."""
        now_s = self._sources.now_s()
        if self._held_s is None:
            self._held_s = now_s
        return now_s - self._held_s >= (BOOK_HOLE_S if self.stream == "book" else TRADE_HOLE_S)

    async def _mend(self, outcome: Outcome) -> bool:
        """Whether the message may be taken now."""
        if outcome is Outcome.NO_SCALE:
            known = len(self._scales)
            await self._read_scales()
            return len(self._scales) > known
        track = self._track
        if not isinstance(track, BookTrack):
            return False
        await self._read_scales()
        epoch, first = track.hole
        for stored, snap in await self._snaps():
            if snap.epoch == epoch and snap.seq >= first - 1:
                with suppress(FeedError):
                    crossings = track.leap(snap, self._scales[epoch], stored.stored_us)
                    await self._settle(crossings)
                    return True
        return False

    # ---- to begin

    async def _open(self) -> bool:
        """Begins where the follower before it stood, or with what was when the first alert was set."""
        sources = self._sources
        await self._read_scales()
        if not self._scales or not self.alerts:
            return False
        self._place_seq, place = await read_place(sources.bus, self.place_subject)
        since_us = min((each.put_us for each in self.alerts if not each.is_started), default=None)
        is_resumed = place is not None and self._is_usable(place, since_us) and self._resume(place)
        if not is_resumed and not await self._begin(min(each.put_us for each in self.alerts)):
            return False
        self._place = self._track.place(sources.log_us)
        if not is_resumed:
            await self._store_place()
        return True

    def _is_usable(self, place: Place, since_us: int | None) -> bool:
        is_readable = place.log_us == self._sources.log_us and place.is_whole
        reaches = any(each.is_started for each in self.alerts) or since_us is None or place.us <= since_us
        return is_readable and reaches

    async def _begin(self, us: int) -> bool:
        """Begins with what was at a time. Alerts that were started follow as soon as this is beyond where they stood."""
        if isinstance(self._track, TradeTrack):
            await self._begin_trades(self._track, us)
            return True
        assert isinstance(self._track, BookTrack)
        snaps = await self._snaps()
        before = [each for each in snaps if each[0].stored_us <= us]
        if not before and await self._begin_epoch(self._track):
            return True
        for stored, snap in (*reversed(before), *snaps[len(before) :]):
            with suppress(FeedError):
                self._track.load(snap, self._scales[snap.epoch], stored.stored_us)
                self._track.at = await self._number_before(stored.stored_us - BEFORE_US)
                return True
        return False

    async def _begin_epoch(self, track: BookTrack) -> bool:
        """Where no snapshot reaches back: with the empty book of an epoch, if the log has its first update."""
        batch = await self._sources.log.read(self._subject, 1, most=1)
        for message in batch.messages:
            with suppress(FeedError):
                first = decode_payload("book", message.payload)[0]
                if first.first == 1 and first.epoch in self._scales:
                    empty = SnapValue(first.epoch, 0, 0, [], [])
                    track.load(empty, self._scales[first.epoch], message.stored_us - 1)
                    track.at = message.seq - 1
                    return True
        return False

    def _resume(self, place: Place) -> bool:
        try:
            self._track.resume(place)
        except (FeedError, ValueError, OverflowError):
            return False
        return True

    async def _begin_trades(self, track: TradeTrack, us: int) -> None:
        began_us = us - TRADES_BEFORE_US
        at = await self._number_before(began_us)
        last = await self._sources.log.last(self._subject)
        trade = None
        if last is not None and last.seq <= at and last.stored_us <= us:
            with suppress(FeedError):
                found = decode_payload("trade", last.payload)[-1]
                trade = found if found.epoch in self._scales else None
        track.stand(at, began_us, trade, 0 if trade is None else self._scales[trade.epoch])

    async def _number_before(self, us: int) -> int:
        """The number in the log after which everything was stored since a time."""
        first = await self._sources.log.first_since(self._subject, us)
        if first is not None:
            return first.seq - 1
        last = await self._sources.log.last(self._subject)
        return 0 if last is None else last.seq

    async def _read_scales(self) -> None:
        batch = await self._sources.state.read(subject(self.instrument, "ref"), 1)
        for message in batch.messages:
            with suppress(FeedError):
                for ref in decode_payload("ref", message.payload):
                    self._scales.setdefault(ref.epoch, ref.price_exp)

    async def _newest_in_log(self) -> tuple[int, int] | None:
        """Epoch and number of the newest update in the log; None if it has none that can be read."""
        last = await self._sources.log.last(self._subject)
        if last is None:
            return None
        with suppress(FeedError):
            update = decode_payload("book", last.payload)[-1]
            return update.epoch, update.last
        return None

    async def _snaps(self) -> list[tuple[Numbered, SnapValue]]:
        """Those that are stored and can be read, oldest first. One that is ahead of the log is a stranger's: what the writer publishes
        from then on would count as known."""
        newest = await self._newest_in_log()
        found: list[tuple[Numbered, SnapValue]] = []
        has_more, at = True, 0
        while has_more:
            batch = await self._sources.state.read(subject(self.instrument, "snap"), at + 1)
            for message in batch.messages:
                at = message.seq
                with suppress(FeedError):
                    snap = decode_payload("snap", message.payload)[-1]
                    is_ahead = newest is not None and snap.epoch == newest[0] and snap.seq > newest[1]
                    if snap.epoch in self._scales and not is_ahead:
                        found.append((message, snap))
            has_more = batch.has_more and bool(batch.messages)
        return found

    # ---- where it stands

    def _note_place(self) -> None:
        """Now and then, where all crossings are told: what is stored next but one."""
        now_s = self._sources.now_s()
        if self._is_due.is_set() or now_s - self._placed_s < self._sources.place_s:
            return
        self._placed_s = now_s
        changed = [each for each in self._track.joined if each.is_changed]
        self._due = self._track.place(self._sources.log_us), changed
        self._is_due.set()

    async def _keep_places(self) -> None:
        """Beside the reading, since thousands of records may have to be stored. Once they are, it stores where it stood the last time: all
        alerts that were set before that are known and recorded by now."""
        while True:
            await self._is_due.wait()
            assert self._due is not None
            place, changed = self._due
            await self._sources.record(changed)
            await self._store_place()
            self._place, self._due = place, None
            self._is_due.clear()

    async def _store_place(self) -> None:
        if self._place is None or (self._place.log_us, self._place.at) == self._stored:
            return
        self._sources.at("recorded all")
        self._place_seq = await put_place(
            self._sources.bus, self.place_subject, self._place, expected_seq=self._place_seq
        )
        self._stored = self._place.log_us, self._place.at
        self._sources.at("placed")
