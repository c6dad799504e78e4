"""The recovery of a book: from the log, else from the newest snapshot that something else on the bus bears out."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from mdstream.bus.gap_recovery import GapRecovery, InstrumentCore, RecoveryContext, RecoveryOwner
from mdstream.bus.gate import ACCEPTED, NOTHING, StreamGate
from mdstream.bus.payloads import snap_number
from mdstream.bus.streams import MD_STATE, STATE_HISTORY, Stored
from mdstream.errors import BusError, FeedError, PayloadError

logger = logging.getLogger(__name__)


class BookRecovery(GapRecovery):
    """A book continues from the log, else from the newest snapshot that something bears out."""

    _stream = "book"

    def __init__(
        self,
        context: RecoveryContext,
        gate: StreamGate,
        core: InstrumentCore,
        owner: RecoveryOwner,
        snap_subject: str,
    ) -> None:
        super().__init__(context, gate, core, owner)
        self._snap_subject = snap_subject
        self._dead_end: tuple[int, int] | None = None
        """A position from which the log does not lead on."""
        self._offered: bytes | None = None
        """The newest live snapshot that nothing bore out when it came."""
        self._disbelieved: bytes | None = None
        self._loads = 0
        self._looks_back = False
        """The book is being read from an old snapshot: a live one must not take its place, or its log would begin there."""

    def begin(self) -> None:
        super().begin()
        self._dead_end = self._offered = self._disbelieved = None

    def load(self, payload: bytes, *, force: bool = False) -> bool:
        """Loads a snapshot if it is newer than the book (or by force); payloads refused before it do not matter any more."""
        try:
            loaded = self._core.load_snap(payload, force=force)
        except FeedError as error:
            self._owner.refuse_snap(payload, error)
            return False
        if loaded:
            self._loads += 1
            self._stats.snaps_loaded += 1
            self._gate.suspect = False
            self._offered = None
            self._gate.changed()
        return loaded

    def offer(self, payload: bytes) -> bool:
        """Takes a live snapshot while the gate is closed; returns whether the gate is live now."""
        if self._looks_back or not self._is_borne_out(payload, None):
            self._offered = payload
            return False
        if not self.load(payload) and not self._confirms(payload):
            return False
        self._gate.suspect = False
        self._gate.complete_until_now()
        return self.reaches_named and self._gate.open_if_complete()

    async def _recover(self, *, log_may_lag: bool) -> bool:
        try:
            return await self._recover_by_log(log_may_lag=log_may_lag)
        finally:
            self._looks_back = False

    async def _recover_by_log(self, *, log_may_lag: bool) -> bool:
        gate = self._gate
        snap = await self._stored_snap()
        newest = None if self._opened else await self._start(snap)
        complete = self._dead_end != self._position() and await self._apply_log(gate.complete_us, newest)
        if gate.live or (complete and not self._lacks(snap) and gate.open_if_complete()):
            return True
        if complete and log_may_lag:
            return False
        self._dead_end = self._position()
        if await self._load_ahead(snap, log_may_lag=log_may_lag):
            complete = await self._apply_log(gate.complete_us)
        elif not complete:
            gate.apply_held(len(gate.held))
        return gate.live or (complete and not self._lacks(snap) and gate.open_if_complete())

    def _recover_alone(self) -> bool:
        return self._gate.live or (self._offered is not None and self.offer(self._offered))

    async def _stored_snap(self) -> Stored | None:
        """The stored snapshot, if it can be read and is of this epoch."""
        snap = await self._bus.last_stored(MD_STATE, self._snap_subject)
        return snap if snap is not None and self._owner.admit_snap(snap.payload) else None

    async def _start(self, snap: Stored | None) -> Stored | None:
        """Opens a book, from its oldest snapshot, from its first update or from the newest snapshot. Nothing of it was shown before,
        so it may go back here, unless a live snapshot was loaded meanwhile. Returns the newest of the log, if it was asked for just now."""
        newest = None if snap is None else await self._newest()
        read_more = snap is not None and not self._start_at_only_update(snap, newest)
        if snap is not None and read_more and not await self._start_in_the_past(snap, newest):
            await self._start_late(snap, newest)
        self._opened = True
        return None if read_more else newest

    def _start_at_only_update(self, snap: Stored, newest: Stored | None) -> bool:
        """Opens a book whose log has its first update alone, which need not be asked for again. Returns False if it has more, or does not
        lead to what the snapshot says."""
        if newest is None or not any(first == 1 for first, _ in self._numbers(newest.payload)):
            return False
        if self._gate.live or self._gate.apply(newest.payload) not in (*ACCEPTED, NOTHING):
            return False
        return self._leads_to(snap, newest)

    def _leads_to(self, snap: Stored, newest: Stored) -> bool:
        """Whether what was read of the log, up to ``newest``, led to what the snapshot says: then nothing is missing."""
        if not self._agrees(snap.payload):
            return False
        self._gate.complete_us = newest.stored_us
        return True

    async def _start_in_the_past(self, snap: Stored, newest: Stored | None) -> bool:
        """Begins at the oldest snapshot that is kept, if the log leads from there to what the newest says: then clients can resume at
        what came between. Returns False if not; the book then stands anywhere."""
        try:
            async with asyncio.timeout(self._options.look_back.within_s):
                oldest = None if newest is None else await self._oldest_snap(snap, newest)
                if newest is None or oldest is None:
                    return False
                self._looks_back = True
                self._looks_back = await self._read_from(oldest, snap, newest)
        except (BusError, TimeoutError) as error:
            logger.debug("%s: it is not read from its oldest snapshot: %s", self._gate.subject, error)
            self._looks_back = False
        return self._looks_back

    async def _oldest_snap(self, snap: Stored, newest: Stored) -> Stored | None:
        """The oldest of the epoch that is read, before ``snap``, which the log reaches: one that is ahead of the log is a stranger's, and
        behind it all of the log would count as known."""
        epoch, number = self._position()[0], 0
        for _ in range(STATE_HISTORY):
            stored = await self._bus.first_stored(MD_STATE, self._snap_subject, after=number)
            if stored is None or stored.stream_seq >= snap.stream_seq:
                return None
            with contextlib.suppress(PayloadError):
                found, seq = snap_number(stored.payload)
                if found == epoch and self._reaches(newest.payload, seq):
                    return stored
            number = stored.stream_seq
        return None

    async def _read_from(self, oldest: Stored, snap: Stored, newest: Stored) -> bool:
        if self._gate.live or not self.load(oldest.payload, force=True):
            return self._gate.live
        since_us = oldest.stored_us - int(self._options.slack_s * 1e6)
        was_read = False
        async with contextlib.aclosing(self._looked_back(since_us, newest)) as log:
            async for payload in log:
                was_read = True
                if self._gate.apply(payload) not in (*ACCEPTED, NOTHING):
                    break
        if not was_read or self._differs(snap.payload):
            return False  # what is missing after it, as the log may lag, is recovered as any gap is
        self._gate.complete_us = newest.stored_us
        await self._note_age("snap", MD_STATE, snap)
        return True

    async def _start_late(self, snap: Stored, newest: Stored | None) -> None:
        loads, epoch = self._loads, self._position()[0]
        if await self._start_at_first_update(snap, newest):
            return
        is_untouched = not self._gate.live and (loads, epoch) == (self._loads, self._position()[0])
        if is_untouched and self._is_borne_out(snap.payload, newest) and self._load_stored(snap, force=True):
            await self._note_age("snap", MD_STATE, snap)

    async def _start_at_first_update(self, snap: Stored, newest: Stored | None) -> bool:
        """Reads a book whose writer started a short while ago from its first update, so that its log reaches back to before the
        snapshot. Returns False if this is not possible, or does not lead to what the snapshot says."""
        if newest is None:
            return False
        async with contextlib.aclosing(self._recent(newest)) as recent:
            async for payload in recent:
                if self._gate.live or self._gate.apply(payload) not in (*ACCEPTED, NOTHING):
                    break
        return self._leads_to(snap, newest)

    def _confirms(self, snap: bytes) -> bool:
        """Whether a live snapshot shows that nothing is missing."""
        try:
            return snap_number(snap) == self._position() and self._agrees(snap)
        except PayloadError:
            return False

    def _agrees(self, snap: bytes) -> bool:
        return self._compared(snap) is True

    def _differs(self, snap: bytes) -> bool:
        return self._compared(snap) is False

    def _compared(self, snap: bytes) -> bool | None:
        """Whether the book was equal to a snapshot; None if it has no longer, or not yet, what it was then."""
        try:
            return self._core.agrees(snap)
        except FeedError as error:
            self._owner.refuse_snap(snap, error)
            return False

    def _load_stored(self, snap: Stored, *, force: bool = False) -> bool:
        if not self.load(snap.payload, force=force):
            return False
        self._gate.complete_us = snap.stored_us
        return True

    async def _load_ahead(self, snap: Stored | None, *, log_may_lag: bool) -> bool:
        """Loads a snapshot past the gap if something bears it out; if nothing does in time, it is refused."""
        if snap is None or not self._is_ahead(snap.payload):
            return False
        if self._is_borne_out(snap.payload, await self._newest()):
            return self._load_stored(snap)
        if not log_may_lag and self._disbelieved != snap.payload:
            self._disbelieved = snap.payload
            self._owner.disbelieve_snap(snap.payload, "no status, log or update bears its number out")
        return False

    def _lacks(self, snap: Stored | None) -> bool:
        """Whether numbers beyond the position are known to exist."""
        if not self.reaches_named:
            return True
        return snap is not None and self._disbelieved != snap.payload and self._is_ahead(snap.payload)

    def _is_ahead(self, snap: bytes) -> bool:
        """Whether a snapshot includes updates that the log did not have."""
        try:
            return snap_number(snap) > self._position()
        except PayloadError:
            return False

    def _is_borne_out(self, snap: bytes, newest: Stored | None) -> bool:
        """Whether a ``status``, the log or a held update has the snapshot's number, or a greater one. A book of which nothing is
        known is taken from its snapshot, unless a ``status`` names another number."""
        try:
            epoch, seq = snap_number(snap)
        except PayloadError as error:
            self._owner.refuse_snap(snap, error)
            return False
        known_epoch, known_seq = self._position()
        if epoch != known_epoch:
            return False
        if seq <= max(self.named, known_seq) or (known_seq == 0 and not self.tells_numbers):
            return True
        if newest is not None and self._reaches(newest.payload, seq):
            return True
        return any(self._reaches(payload, seq) for payload in self._gate.held)
