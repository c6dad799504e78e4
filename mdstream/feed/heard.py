"""What other writers say live: their epochs, and what they store in place of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.subscription import Subscription

from mdstream.bus import Bus, parse_subject, subject
from mdstream.feed.claim import ServerClock, epoch_of, plausible
from mdstream.model import InstrumentId

LISTEN_S = 0.25
"""How long everything of the venue is heard. Then ``status`` alone is: every writer repeats it."""

OnEpoch = Callable[[InstrumentId, int], None]
OnState = Callable[[InstrumentId, int, bytes, bytes], None]


class HeardEpochs:
    """The greatest epoch heard of each instrument of a venue.

    ``on_epoch`` gets each of a status. ``on_state`` gets epoch (0: not plausible), payload and reply subject of each ``ref`` and ``snap``
    of the instruments that are watched; our own are among them if the bus has an echo.
    """

    def __init__(
        self, bus: Bus, venue: str, clock: ServerClock, on_epoch: OnEpoch, on_state: OnState
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._on_epoch = on_epoch
        self._on_state = on_state
        self._prefix = subject(InstrumentId(venue, "*"), "*").rsplit(".", 2)[0]
        self._epochs: dict[InstrumentId, int] = {}
        self._watched: set[InstrumentId] = set()
        self._subscriptions: list[Subscription] = []
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._subscriptions.append(await self._bus.subscribe(f"{self._prefix}.*.status", self._on_status))
        everything = await self._bus.subscribe(f"{self._prefix}.*.*", self._on_message)
        self._subscriptions.append(everything)
        self._listening = asyncio.create_task(self._listen(everything))

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)

    async def watch(self, instrument: InstrumentId) -> None:
        """From now on until the end ``on_state`` gets what is stored of this instrument."""
        if instrument in self._watched:
            return
        self._watched.add(instrument)
        for stream in ("ref", "snap"):
            name = subject(instrument, stream)
            self._subscriptions.append(await self._bus.subscribe(name, self._on_stored))

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
        self._hear(name, payload)

    def _on_status(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        heard = self._hear(name, payload)
        if heard is not None and heard[1]:
            self._on_epoch(*heard)

    def _on_stored(self, name: bytes, reply: bytes, payload: bytes, _: bytes | None) -> None:
        heard = self._hear(name, payload)
        if heard is not None:
            self._on_state(*heard, payload, reply)

    def _hear(self, name: bytes, payload: bytes) -> tuple[InstrumentId, int] | None:
        """The instrument and the epoch, 0 if that is not plausible; None if the subject is nobody's."""
        try:
            instrument, stream = parse_subject(name.decode())
        except ValueError:
            return None
        epoch = epoch_of(stream, payload)
        if not plausible(epoch, self._clock.now_us()):
            return instrument, 0
        self._epochs[instrument] = max(epoch, self.epoch(instrument))
        return instrument, epoch
