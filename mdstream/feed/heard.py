"""The epochs of other writers that are heard live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.subscription import Subscription

from mdstream.bus import Bus, parse_subject, subject
from mdstream.feed.claim import ServerClock, epoch_of, plausible
from mdstream.model import InstrumentId

LISTEN_S = 0.25
"""How long everything of the venue is heard. Then ``status`` alone is: every writer repeats it."""


class HeardEpochs:
    """The greatest epoch heard of each instrument of a venue; ``on_epoch`` gets each of a status."""

    def __init__(
        self, bus: Bus, venue: str, clock: ServerClock, on_epoch: Callable[[InstrumentId, int], None]
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._on_epoch = on_epoch
        self._prefix = subject(InstrumentId(venue, "*"), "*").rsplit(".", 2)[0]
        self._epochs: dict[InstrumentId, int] = {}
        self._subscriptions: list[Subscription] = []
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._subscriptions.append(await self._bus.subscribe(f"{self._prefix}.*.status", self._on_message))
        everything = await self._bus.subscribe(f"{self._prefix}.*.*", self._on_message)
        self._subscriptions.append(everything)
        self._listening = asyncio.create_task(self._listen(everything))

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)

    async def listened(self) -> None:
        """Returns when everything was heard for a short while."""
        if self._listening is not None:
            await asyncio.wait({self._listening})

    def epoch(self, instrument: InstrumentId) -> int:
        """0 if none was heard."""
        return self._epochs.get(instrument, 0)

    async def _listen(self, everything: Subscription) -> None:
        await asyncio.sleep(LISTEN_S)
        self._subscriptions.remove(everything)
        await self._bus.unsubscribe(everything)

    def _on_message(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        try:
            instrument, stream = parse_subject(name.decode())
        except ValueError:
            return
        epoch = epoch_of(stream, payload)
        if not plausible(epoch, self._clock.now_us()):
            return
        self._epochs[instrument] = max(epoch, self.epoch(instrument))
        if stream == "status":
            self._on_epoch(instrument, epoch)
