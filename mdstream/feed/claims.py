"""Claims epochs, and keeps what is stored from being written over by another life."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from mdstream.bus import Bus
from mdstream.errors import BusError
from mdstream.feed.claim import Claim, Known, ServerClock, stored_epochs
from mdstream.feed.other_writers import OtherWriters
from mdstream.feed.refs import pack_ref
from mdstream.feed.storage import Storage
from mdstream.model import InstrumentId, Ref

if TYPE_CHECKING:
    from mdstream.feed.instrument import Instrument, Tail

log = logging.getLogger("mdstream.feed")

JETSTREAM_DEADLINE_S = 2.0
"""So long we wait for JetStream when a connection or an instrument opens; then we go on without it."""


class Claims:
    """Where writers share instruments it ``fences_state``: ``status`` and ``snap`` too are stored over our own alone."""

    def __init__(
        self,
        bus: Bus,
        clock: ServerClock,
        storage: Storage,
        others: OtherWriters,
        *,
        fences_state: bool,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._storage = storage
        self._others = others
        self._heard = others.heard
        self._fences_state = fences_state

    async def claim(
        self, instrument_id: InstrumentId, ref: Ref, known: int, *, asks_clock: bool = True
    ) -> Claim:
        """A new epoch; ``known`` is the greatest that is known. Not claimed if JetStream does not answer."""
        claim = Claim(self._bus, instrument_id, self._clock, known)
        deadline_s = JETSTREAM_DEADLINE_S
        if self._storage.in_trouble:
            deadline_s /= 8  # we have waited, and said so
        try:
            async with asyncio.timeout(deadline_s):
                stored = await claim.look_up(asks_clock=asks_clock)
                if not claim.known:
                    await self._hear_first(claim, instrument_id)
                await claim.take(stored, lambda epoch: pack_ref(replace(ref, epoch=epoch)))
        except (BusError, TimeoutError) as error:
            self._storage.begin_trouble(f"{instrument_id}, whose epoch is not claimed: {why(error)}")
        if claim.ref_seq is None:
            # Once claimed, the greatest epoch that was heard is the one in our own ``ref``.
            claim.know(self._heard.epoch(instrument_id))
        return claim

    async def _hear_first(self, claim: Claim, instrument_id: InstrumentId) -> None:
        """Nothing is stored: it is new, or what was stored is lost while its writer or gateways go on."""
        await self._heard.listened()
        claim.know(self._heard.epoch(instrument_id))
        if not claim.known:
            log.info(
                "%s: the bus knows no earlier epoch; the new one is by the clock of the NATS server alone",
                instrument_id,
            )

    def own(self, instrument: Instrument, claim: Claim) -> None:
        """What was stored when we claimed the epoch is what our state may take the place of."""
        symbol = instrument.id.symbol
        if claim.ref_seq is None:
            self._others.unclaimed.add(symbol)
        else:
            self._others.unclaimed.discard(symbol)
            self._storage.expect(instrument.state_subjects[0], claim.ref_seq)
        if claim.stored is not None and self._fences_state:
            self._fence_state(instrument, claim.stored)

    async def go_on(self, instrument: Instrument, tail: Tail) -> bool | None:
        """Whether the epoch of these last words is the newest, so that its numbers may go on: None if not, or if JetStream cannot tell;
        else whether our ``ref`` is the stored one.
        """
        epoch = tail.book.epoch
        try:
            async with asyncio.timeout(JETSTREAM_DEADLINE_S):
                stored = await stored_epochs(self._bus, instrument.id, self._clock.now_us())
        except (BusError, TimeoutError):
            return None
        if stored.ref_epoch != epoch or max(stored.epoch, self._heard.epoch(instrument.id)) > epoch:
            return None
        self._storage.expect(instrument.state_subjects[0], stored.ref_seq)
        self._fence_state(instrument, stored)
        return stored.ref == instrument.reference(epoch)

    def _fence_state(self, instrument: Instrument, stored: Known) -> None:
        """From now on the server stores no ``status`` and ``snap`` of ours over those of another life."""
        _, status, snap = instrument.state_subjects
        self._storage.expect(status, stored.status_seq)
        self._storage.expect(snap, stored.snap_seq)


def why(error: Exception) -> str:
    return str(error) or f"JetStream did not answer within {JETSTREAM_DEADLINE_S:g} s"
