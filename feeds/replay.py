"""``mdstream feed replay``: publishes a tape again."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgpack

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.bus import MD_STATE, Bus, BusOptions, connect, parse_subject, subject
from mdstream.errors import FeedError, PayloadError
from mdstream.feed.claim import next_epoch, stored_epochs
from mdstream.feed.connecting import check_venue
from mdstream.feed.numbers import now_us
from mdstream.feeds import _cli
from mdstream.feeds._replay_clock import ReplayClock
from mdstream.feeds._tape import TapedMessage, read_tape
from mdstream.model import InstrumentId, VenueState

log = logging.getLogger("mdstream.feeds.replay")

STATE = ("ref", "snap", "status")
_KINDS = {"book": 1, "snap": 2, "trade": 3, "status": 5}
_TS = {"book": 4, "snap": 3, "trade": 3, "status": 2}
"""The index of the event time in a value of each stream."""
_HEARD = 7
"""The index of the time at which the venue was heard, in a status of eight values."""
FLUSH_EVERY = 256
SILENT_S = 12.0
"""A writer repeats its status every 10 s: one that was silent for this long has ended."""

DESCRIPTION = """\
Publishes a tape of `mdstream feed record` again, in its order, at its own speed or another.

By default epochs, numbers and times are those of the tape. If the bus has seen a newer epoch of an instrument,
readers would ignore the tape, so the replay is refused. With --rebase each recorded epoch becomes a new one and
times move to the present, as if it happened now.

An instrument that another writer publishes now is never written over: the replay is refused. With --venue the tape's
instruments are published under another venue.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path, help="a tape")
    parser.add_argument("--speed", type=_cli.speed, default=1.0, help="a factor, or max: do not wait")
    parser.add_argument("--rebase", action="store_true", help="use new epochs and present times")
    parser.add_argument("--venue", metavar="NEW", help="publish under this venue instead of the tape's")


class Rebase:
    """Moves values to new epochs and to the present. No I/O; ``stored`` gives the newest epoch that the bus knows."""

    def __init__(
        self,
        stored: Callable[[InstrumentId], int],
        clock_us: Callable[[], int] = now_us,
        draw: Callable[[int], int] = random.randrange,
    ) -> None:
        self._stored = stored
        self._clock_us = clock_us
        self._draw = draw
        self._epochs: dict[tuple[InstrumentId, int], int] = {}
        self._newest: dict[InstrumentId, int] = {}

    def __call__(self, message: TapedMessage, instrument: InstrumentId, stream: str) -> bytes:
        """The payload with its epochs and times changed. Raises FeedError if it breaks the contract."""
        if stream == "ref":
            return self._ref(message.payload, instrument)
        shift_us = self._clock_us() - message.ts_us
        values = unpack(message.payload, stream)
        for value in values:
            value[1] = self._epoch(instrument, value[1])
            for time in (_TS[stream], _HEARD) if stream == "status" else (_TS[stream],):
                if time < len(value):
                    value[time] = max(value[time] + shift_us, 0)
        return b"".join(msgpack.packb(value) for value in values)

    def _ref(self, payload: bytes, instrument: InstrumentId) -> bytes:
        ref = unpack_ref(payload)
        ref["epoch"] = self._epoch(instrument, ref["epoch"])
        changed: bytes = msgpack.packb(ref)
        return changed

    def _epoch(self, instrument: InstrumentId, recorded: int) -> int:
        key = instrument, recorded
        if key not in self._epochs:
            newest = self._newest.get(instrument) or self._stored(instrument)
            self._epochs[key] = self._newest[instrument] = next_epoch(self._clock_us(), newest, self._draw)
        return self._epochs[key]


def unpack(payload: bytes, stream: str) -> list[list[int]]:
    """The values of a payload of any stream but ``ref``. Raises FeedError if it breaks the contract."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload)
    try:
        values = list(unpacker)
        if all(value[0] == _KINDS[stream] and isinstance(value[_TS[stream]], int) for value in values):
            return values
        raise ValueError(f"not all values are {stream}")
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException) as error:
        raise FeedError(f"a payload of stream {stream} on the tape cannot be read: {error}") from None


def unpack_ref(payload: bytes) -> dict[str, Any]:
    """Raises FeedError if it is no ``ref`` with an epoch."""
    try:
        ref = msgpack.unpackb(payload)
        if type(ref["epoch"]) is int:
            return dict(ref)
        raise ValueError(f"epoch {ref['epoch']!r} is not an integer")
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise FeedError(f"a ref on the tape cannot be read: {error!r}") from None


class Replay:
    """Publishes the messages of a tape, under ``venue`` if it is given.

    ``silent_s``: how long nothing must be heard of an instrument that was published lately.
    """

    def __init__(
        self, bus: Bus, path: Path, rebase: bool, *, venue: str | None = None, silent_s: float = SILENT_S
    ) -> None:
        self.messages = 0
        self.status: dict[InstrumentId, int] = {}
        """The epoch last published of each instrument."""
        self._bus = bus
        self._path = path
        self._rebases = rebase
        self._venue = venue
        self._silent_s = silent_s

    async def run(self, speed: float) -> None:
        """Publishes the whole tape, then marks its instruments ``feed_down``. Raises FeedError, BusError."""
        await self._bus.ensure_streams()
        recorded = self._recorded()
        await self._refuse_living(recorded)
        stored = await self._stored(recorded)
        rebase = Rebase(stored.__getitem__) if self._rebases else None
        clock = ReplayClock(speed)
        for message in read_tape(self._path):
            await clock.until(message.ts_us * 1000)
            await self._publish(message, rebase)
        for instrument, epoch in self.status.items():
            final_status = msgpack.packb([5, epoch, now_us(), "feed_down", "end of the recording"])
            await self._bus.publish_acked(subject(instrument, "status"), final_status)
        await self._bus.flush()

    async def _publish(self, message: TapedMessage, rebase: Rebase | None) -> None:
        instrument, stream = self._parse(message)
        payload = message.payload if rebase is None else rebase(message, instrument, stream)
        if stream == "snap":
            self.status[instrument] = unpack(payload, stream)[0][1]
        await (self._bus.publish_acked if stream in STATE else self._bus.publish)(
            subject(instrument, stream), payload
        )
        self.messages += 1
        if self.messages % FLUSH_EVERY == 0:
            await self._bus.flush()

    def _recorded(self) -> dict[InstrumentId, int]:
        """The tape's instruments and their newest epochs on it."""
        recorded: dict[InstrumentId, int] = {}
        for message in read_tape(self._path):
            instrument, stream = self._parse(message)
            recorded.setdefault(instrument, 0)
            if stream == "snap":
                recorded[instrument] = max(recorded[instrument], unpack(message.payload, stream)[0][1])
        return recorded

    async def _refuse_living(self, instruments: Collection[InstrumentId]) -> None:
        """Raises FeedError if another writer publishes one of the instruments now."""
        doubtful: set[InstrumentId] = set()
        for instrument in instruments:
            status = await self._bus.last_stored(MD_STATE, subject(instrument, "status"))
            if status is None or await self._bus.stored_s(MD_STATE, status) > SILENT_S:
                continue
            if _state_of(status.payload) not in (VenueState.FEED_DOWN, VenueState.CLOSED):
                raise _living(instrument)
            doubtful.add(instrument)
        if doubtful:
            await self._listen(doubtful)

    async def _listen(self, instruments: Collection[InstrumentId]) -> None:
        """The last word of an instrument was ``feed_down``: its writer has ended, or waits for its venue and goes on saying so."""
        log.info(
            "listening for %g s whether a writer of %s lives",
            self._silent_s,
            ", ".join(map(str, instruments)),
        )
        heard: asyncio.Future[InstrumentId] = asyncio.get_running_loop().create_future()

        def hear(name: bytes, *_: object) -> None:
            instrument, _stream = parse_subject(name.decode())
            if not heard.done():
                heard.set_result(instrument)

        subscriptions = [await self._bus.subscribe(subject(each, "*"), hear) for each in instruments]
        await asyncio.wait({heard}, timeout=self._silent_s)
        for subscription in subscriptions:
            await self._bus.unsubscribe(subscription)
        if heard.done():
            raise _living(heard.result())

    async def _stored(self, recorded: dict[InstrumentId, int]) -> dict[InstrumentId, int]:
        """The newest epochs that the bus has of the tape's instruments. Raises FeedError if one is newer than the tape's."""
        now = await self._bus.server_us()
        stored = {each: (await stored_epochs(self._bus, each, now)).epoch for each in recorded}
        newer = [instrument for instrument, epoch in stored.items() if epoch > recorded[instrument]]
        if newer and not self._rebases:
            raise FeedError(
                f"the bus knows newer epochs of {', '.join(map(str, newer))} than the tape, so readers would ignore the tape; "
                "replay with --rebase"
            )
        return stored

    def _parse(self, message: TapedMessage) -> tuple[InstrumentId, str]:
        try:
            instrument, stream = parse_subject(message.subject)
        except ValueError as error:
            raise FeedError(f"on the tape: {error}") from None
        return (instrument if self._venue is None else InstrumentId(self._venue, instrument.symbol)), stream


def _state_of(payload: bytes) -> VenueState | None:
    try:
        return decode_payload("status", payload)[-1].state
    except PayloadError:
        return None


def _living(instrument: InstrumentId) -> FeedError:
    return FeedError(
        f"{instrument} is published by another writer now, and is not written over; "
        f"end that writer (and wait {SILENT_S:g} s), or replay under another venue with --venue"
    )


def run(arguments: argparse.Namespace) -> int:
    return _cli.run("replay", arguments, main)


async def main(arguments: argparse.Namespace, options: BusOptions) -> int:
    if arguments.venue is not None:
        check_venue(arguments.venue)
    async with await connect(options) as bus:
        replay = Replay(bus, arguments.file, arguments.rebase, venue=arguments.venue)
        await replay.run(arguments.speed)
    log.info("%d messages of %d instruments", replay.messages, len(replay.status))
    return _cli.EXIT_OK
