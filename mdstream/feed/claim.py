"""The epoch of a new writer: greater than every epoch that the bus knows, and claimed, so that no two writers share one."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

import msgpack

from mdstream.bus import MD_LOG, MD_STATE, Bus, subject
from mdstream.errors import BusConflict
from mdstream.model import InstrumentId

log = logging.getLogger("mdstream.feed")

RANDOM_US = 1_000_000
"""Below this is the random part of an epoch: two writers that cannot see each other do not choose the same one."""
HEAD_BYTES = 64
"""Enough of a value for its epoch, which is its second field."""
AHEAD_US = 3_600_000_000
"""An epoch further ahead of the clock than this was claimed by no clock: it counts for nobody."""


class ServerClock:
    """The wall clock of the NATS server, as far as it was asked; of this machine before that."""

    def __init__(self, wall_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._offset_us: int | None = None

    @property
    def is_known(self) -> bool:
        return self._offset_us is not None

    def set(self, server_us: int) -> None:
        self._offset_us = server_us - self._monotonic_us()

    def now_us(self) -> int:
        return self._wall_us() if self._offset_us is None else self._monotonic_us() + self._offset_us


def next_epoch(clock_us: int, known: int, draw: Callable[[int], int] = random.randrange) -> int:
    """max(clock, greatest known + 1) plus a random part."""
    return max(clock_us, known + 1) + draw(RANDOM_US)


def plausible(epoch: int, clock_us: int) -> bool:
    return 0 < epoch <= clock_us + AHEAD_US


def epoch_of(stream: str, payload: bytes) -> int:
    """The epoch of the first value of a payload; 0 if it cannot be read."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload if stream == "ref" else payload[:HEAD_BYTES])
    try:
        if stream == "ref":
            epoch = unpacker.unpack()["epoch"]
        else:
            unpacker.read_array_header()
            _kind, epoch = unpacker.unpack(), unpacker.unpack()
    except (ValueError, TypeError, KeyError, msgpack.UnpackException):
        return 0
    return epoch if type(epoch) is int else 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the bus has stored of an instrument: the greatest epoch, of ``ref`` its epoch, number in MD_STATE and payload, and the
    numbers of ``snap`` and ``status``.

    0 and empty: none. Epochs that are not plausible are none.
    """

    epoch: int
    ref_epoch: int
    ref_seq: int
    ref: bytes = b""
    snap_seq: int = 0
    status_seq: int = 0


async def stored_epochs(bus: Bus, instrument: InstrumentId, clock_us: int) -> Known:
    """Asks MD_STATE, and MD_LOG where MD_STATE has lost the instrument. Raises BusError."""
    streams = ("ref", "snap", "status")
    state = await asyncio.gather(*(bus.last_stored(MD_STATE, subject(instrument, each)) for each in streams))
    epochs = [
        epoch_of(stream, each.payload)
        for stream, each in zip(streams, state, strict=True)
        if each is not None
    ]
    if not any(epochs):
        for stream in ("book", "trade"):
            payload = await bus.last(MD_LOG, subject(instrument, stream))
            epochs.append(0 if payload is None else epoch_of(stream, payload))
    ref = state[0]
    ref_epoch = 0 if ref is None else epoch_of("ref", ref.payload)
    return Known(
        max((epoch for epoch in epochs if plausible(epoch, clock_us)), default=0),
        ref_epoch if plausible(ref_epoch, clock_us) else 0,
        0 if ref is None else ref.stream_seq,
        b"" if ref is None else ref.payload,
        *(0 if each is None else each.stream_seq for each in state[1:]),
    )


class Claim:
    """Finds and claims the epoch of one instrument. ``known`` is the greatest epoch that is known so far."""

    def __init__(self, bus: Bus, instrument: InstrumentId, clock: ServerClock, known: int) -> None:
        self.known = known
        self.ref_seq: int | None = None
        """The number of our ``ref`` in MD_STATE; None if the epoch is not claimed."""
        self.stored: Known | None = None
        """What was stored at the last look."""
        self._bus = bus
        self._instrument = instrument
        self._clock = clock
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """The epoch, claimed or not."""
        if not self._epoch:
            self._choose()
        return self._epoch

    def know(self, epoch: int) -> None:
        """Another epoch was heard."""
        self.known = max(self.known, epoch)
        if self._epoch and epoch >= self._epoch:
            self._epoch = 0

    async def look_up(self, *, asks_clock: bool = True) -> Known:
        """Also asks for the server's clock, unless somebody has just done so. Raises BusError."""
        if asks_clock:
            self._clock.set(await self._bus.server_us())
        stored = await stored_epochs(self._bus, self._instrument, self._clock.now_us())
        self.know(stored.epoch)
        self.stored = stored
        return stored

    async def take(self, stored: Known, reference: Callable[[int], bytes]) -> None:
        """Stores ``ref``; where another writer is faster, one of a greater epoch. Raises BusError."""
        name = subject(self._instrument, "ref")
        while True:
            self._choose()
            try:
                self.ref_seq = await self._bus.publish_acked(
                    name, reference(self._epoch), expected_seq=stored.ref_seq
                )
                return
            except BusConflict:
                log.info("%s: another writer claims an epoch too; claiming a greater one", self._instrument)
                stored = await self.look_up()

    def _choose(self) -> None:
        self._epoch = next_epoch(self._clock.now_us(), self.known)
