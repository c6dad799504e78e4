"""Other writers of our instruments: who has taken over, and who merely wrote over what we have stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mdstream.bus import Bus
from mdstream.errors import BusError
from mdstream.feed.claim import Known, ServerClock, stored_epochs
from mdstream.feed.heard import HeardEpochs
from mdstream.feed.storage import Storage
from mdstream.model import InstrumentId

if TYPE_CHECKING:
    from mdstream.feed.instrument import Instrument

log = logging.getLogger("mdstream.feed")

ASK_S = 2.0
"""So long we wait for JetStream to tell whose ``ref`` it has."""
ANSWER_US = 1_000_000
"""An instrument's state is published again at most so often, however often another writer writes over it."""
MOST_LOGGED = 1_000


@dataclass(frozen=True, slots=True)
class Ours:
    """What belongs to the publisher: its open instruments by symbol, and what to do with one that another writer has taken over."""

    bus: Bus
    venue: str
    clock: ServerClock
    storage: Storage
    instruments: dict[str, Instrument]
    begin: Callable[[Coroutine[Any, Any, None]], None]
    fence: Callable[[Instrument, int], None]
    monotonic_us: Callable[[], int]


class OtherWriters:
    """Listens to the venue's subjects.

    A writer with a greater plausible epoch whose ``ref`` is stored has taken over: ``fence``. What anybody else publishes as ``ref`` or
    ``snap`` is in storage where ours should be, and gateways that start would read it: then ours are published again at once.
    """

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self._storage = ours.storage
        self.heard = HeardEpochs(ours.bus, ours.venue, ours.clock, self._on_epoch, self._on_state)
        self.unclaimed: set[str] = set()
        """Symbols whose epoch is not claimed, because JetStream did not answer."""
        self._looking_up: set[str] = set()
        self._doubts: dict[str, int] = {}
        self._answers = Answers()
        self._logged: set[tuple[InstrumentId, int]] = set()

    def is_open(self, instrument: Instrument) -> bool:
        return self._ours.instruments.get(instrument.id.symbol) is instrument

    def _written(self, symbol: str) -> Instrument | None:
        """An open instrument that we publish; where we follow, others are right to."""
        instrument = self._ours.instruments.get(symbol)
        return None if instrument is None or instrument.following else instrument

    # ---- from the publisher

    def look_up(self, instruments: Collection[Instrument]) -> None:
        """What we published was not stored because another writer's was there."""
        for instrument in instruments:
            self._ours.begin(self._look_up(instrument))

    def on_restored(self) -> None:
        """JetStream stores again."""
        instruments = self._ours.instruments
        self.look_up([instruments[symbol] for symbol in self.unclaimed & instruments.keys()])
        self.unclaimed.clear()

    def housekeep(self, at_us: int) -> None:
        """Answers what could not be answered at once."""
        for symbol in self._answers.due(at_us):
            instrument = self._written(symbol)
            if instrument is not None:
                self._ours.begin(self._reclaim(instrument))

    # ---- from the bus

    def _on_epoch(self, instrument_id: InstrumentId, epoch: int) -> None:
        """Every writer publishes its status regularly: one with a greater epoch than ours may have taken over."""
        symbol = instrument_id.symbol
        instrument = self._written(symbol)
        if instrument is not None and epoch > instrument.epoch and symbol not in self._looking_up:
            self._ours.begin(self._look_up(instrument, epoch))

    def _on_state(self, instrument_id: InstrumentId, epoch: int, payload: bytes, reply: bytes) -> None:
        instrument = self._written(instrument_id.symbol)
        if instrument is None or self._storage.is_ours(reply) or payload == instrument.reference():
            return
        at_us = self._ours.monotonic_us()
        if epoch > instrument.epoch:
            # Its writer may be about to take over: what is stored tells in a moment.
            self._answers.later(instrument_id.symbol, at_us)
            return
        self._log(instrument, epoch)
        if self._answers.at_once(instrument_id.symbol, at_us):
            instrument.announce()

    def _log(self, instrument: Instrument, epoch: int) -> None:
        key = instrument.id, epoch
        if key in self._logged or len(self._logged) >= MOST_LOGGED:
            return
        self._logged.add(key)
        of = f"epoch {epoch}" if epoch else "no plausible epoch"
        log.warning(
            "%s: another writer has published a ref or snap of %s over ours, of epoch %d, which are published again",
            instrument.id,
            of,
            instrument.epoch,
        )

    # ---- whose the stored ref is

    async def _reclaim(self, instrument: Instrument) -> None:
        """Publishes our state again, unless another writer has taken over."""
        await self._look_up(instrument)
        if self.is_open(instrument):
            instrument.announce()

    async def _look_up(self, instrument: Instrument, heard: int = 0) -> None:
        """Finds out whose the stored ``ref`` is: another writer's, ours, or nobody's because the server has lost it.

        A status alone, with the epoch ``heard``, does not silence us: a writer who has taken over has stored its ``ref``.
        """
        symbol = instrument.id.symbol
        self._looking_up.add(symbol)
        greater = 0
        try:
            async with asyncio.timeout(ASK_S):
                stored = await stored_epochs(self._ours.bus, instrument.id, self._ours.clock.now_us())
        except (BusError, TimeoutError):
            # JetStream cannot tell. A writer that repeats its epoch means it.
            if heard:
                greater = heard if self._doubts.get(symbol) == heard else 0
                self._doubts[symbol] = heard
        else:
            greater = stored.ref_epoch
            self._keep_ref(instrument, stored)
        finally:
            self._looking_up.discard(symbol)
        if greater > instrument.epoch and self.is_open(instrument):
            self._ours.fence(instrument, greater)

    def _keep_ref(self, instrument: Instrument, stored: Known) -> None:
        """Publishes our ``ref`` again if it is not the stored one, and no later one is; and so ``status`` and ``snap`` where the server
        does not store ours over another's.
        """
        ref, status, snap = instrument.state_subjects
        if stored.ref_epoch > instrument.epoch or not self.is_open(instrument) or instrument.following:
            return
        for name, seq in ((status, stored.status_seq), (snap, stored.snap_seq)):
            if self._storage.expects_other(name, seq):
                self._storage.expect(name, seq)
                instrument.send_again(name)
        self._storage.expect(ref, stored.ref_seq)
        if stored.ref == instrument.reference():
            self._storage.forget([ref])
        else:
            instrument.send_ref()


class Answers:
    """When each instrument may be published again. No I/O; times are µs of a monotonic clock."""

    def __init__(self) -> None:
        self._answered: dict[str, int] = {}
        self._due: dict[str, int] = {}

    def at_once(self, symbol: str, at_us: int) -> bool:
        """Whether to answer now; if not, it is ``due`` as soon as it may be."""
        free_us = self._answered.get(symbol, at_us - ANSWER_US) + ANSWER_US
        if at_us < free_us:
            self._due.setdefault(symbol, free_us)
            return False
        self._answered[symbol] = at_us
        self._due.pop(symbol, None)
        return True

    def later(self, symbol: str, at_us: int) -> None:
        self._due.setdefault(symbol, at_us + ANSWER_US)

    def due(self, at_us: int) -> list[str]:
        """What to answer now; counts as answered."""
        due = [symbol for symbol, when_us in self._due.items() if when_us <= at_us]
        for symbol in due:
            self.at_once(symbol, at_us)
            self._due.pop(symbol, None)
        return due
