"""The ``ref`` of every instrument on the bus, as it came live: what was announced first within an epoch is its scale.

MD_STATE keeps the last ``ref`` only. An instrument that opens after its writer contradicted itself would not notice without this.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.bus.epochs import check_plausible, scale
from mdstream.bus.subjects import parse_subject
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

MOST = 50_000
"""Instruments that are remembered: those that were announced last."""


class Announcements:
    """The newest ``ref`` of each instrument that came live; of one epoch with two scales, the one with the first."""

    def __init__(self, bus: Bus, wall_clock_us: Callable[[], int]) -> None:
        self._bus = bus
        self._wall_clock_us = wall_clock_us
        self._refs: OrderedDict[InstrumentId, Ref] = OrderedDict()
        self._subscription: Subscription | None = None
        self.listener: Callable[[InstrumentId, Ref], None] | None = None
        """Hears of every ``ref`` that is noted."""

    def __contains__(self, instrument: InstrumentId) -> bool:
        return instrument in self._refs

    def get(self, instrument: InstrumentId) -> Ref | None:
        return self._refs.get(instrument)

    async def listen(self) -> None:
        try:
            self._subscription = await self._bus.subscribe("md.*.*.ref", self._receive)
        except BusError as error:
            logger.warning("announcements are not listened to: %s", error)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    def _receive(self, subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        try:
            instrument, _stream = parse_subject(subject.decode())
            ref = decode_payload("ref", payload)[-1]
            check_plausible(ref.epoch, self._wall_clock_us())
        except (ValueError, FeedError):
            return  # a reader of the instrument says why
        self.note(instrument, ref)

    def note(self, instrument: InstrumentId, ref: Ref) -> None:
        known = self._refs.get(instrument)
        if known is not None and ref.epoch < known.epoch:
            return
        if known is not None and ref.epoch == known.epoch and scale(ref) != scale(known):
            return
        self._refs[instrument] = ref
        self._refs.move_to_end(instrument)
        if len(self._refs) > MOST:
            self._refs.popitem(last=False)
        if self.listener is not None:
            self.listener(instrument, ref)
