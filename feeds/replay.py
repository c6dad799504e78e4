"""``mdstream feed replay``: publishes a tape again."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

import msgpack

from mdstream.bus import Bus, BusOptions, connect, parse_subject, subject
from mdstream.errors import FeedError
from mdstream.feed.stored import stored_epoch
from mdstream.feed.writer import now_us
from mdstream.feeds import _cli
from mdstream.feeds._replay_clock import ReplayClock
from mdstream.feeds._tape import TapedMessage, read_tape
from mdstream.model import InstrumentId

log = logging.getLogger("mdstream.feeds.replay")

STATE = ("ref", "snap", "status")
_KINDS = {"book": 1, "snap": 2, "trade": 3, "status": 5}
_TS = {"book": 4, "snap": 3, "trade": 3, "status": 2}
"""The index of the event time in a value of each stream."""
FLUSH_EVERY = 256

DESCRIPTION = """\
Publishes a tape of `mdstream feed record` again, in its order, at its own speed or another.

By default epochs, numbers and times are those of the tape. If the bus has seen a newer epoch of an instrument,
readers would ignore the tape, so the replay is refused. With --rebase each recorded epoch becomes a new one and
times move to the present, as if it happened now.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path, help="a tape")
    parser.add_argument("--speed", type=_cli.speed, default=1.0, help="a factor, or max: do not wait")
    parser.add_argument("--rebase", action="store_true", help="use new epochs and present times")


class Rebase:
    """Moves values to new epochs and to the present. No I/O; ``stored`` gives the newest epoch that the bus knows."""

    def __init__(self, stored: Callable[[InstrumentId], int], clock_us: Callable[[], int] = now_us) -> None:
        self._stored = stored
        self._clock_us = clock_us
        self._epochs: dict[tuple[InstrumentId, int], int] = {}
        self._newest: dict[InstrumentId, int] = {}

    def __call__(self, message: TapedMessage, instrument: InstrumentId, stream: str) -> bytes:
        """The payload with its epochs and times changed. Raises FeedError if it breaks the contract."""
        if stream == "ref":
            return message.payload
        shift_us = self._clock_us() - message.ts_us
        values = unpack(message.payload, stream)
        for value in values:
            value[1] = self._epoch(instrument, value[1])
            value[_TS[stream]] = max(value[_TS[stream]] + shift_us, 0)
        return b"".join(msgpack.packb(value) for value in values)

    def _epoch(self, instrument: InstrumentId, recorded: int) -> int:
        key = instrument, recorded
        if key not in self._epochs:
            newest = self._newest.get(instrument) or self._stored(instrument)
            self._epochs[key] = self._newest[instrument] = max(self._clock_us(), newest + 1)
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


class Replay:
    """Publishes the messages of a tape."""

    def __init__(self, bus: Bus, path: Path, rebase: bool) -> None:
        self.messages = 0
        self.status: dict[InstrumentId, int] = {}
        """The epoch last published of each instrument."""
        self._bus = bus
        self._path = path
        self._rebases = rebase

    async def run(self, speed: float) -> None:
        """Publishes the whole tape, then marks its instruments ``feed_down``. Raises FeedError, BusError."""
        await self._bus.ensure_streams()
        stored = await self._stored()
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
        instrument, stream = _parse(message)
        payload = message.payload if rebase is None else rebase(message, instrument, stream)
        if stream == "snap":
            self.status[instrument] = unpack(payload, stream)[0][1]
        await (self._bus.publish_acked if stream in STATE else self._bus.publish)(message.subject, payload)
        self.messages += 1
        if self.messages % FLUSH_EVERY == 0:
            await self._bus.flush()

    async def _stored(self) -> dict[InstrumentId, int]:
        """The newest epochs that the bus has of the tape's instruments. Raises FeedError if one is newer than the tape's."""
        recorded: dict[InstrumentId, int] = {}
        for message in read_tape(self._path):
            instrument, stream = _parse(message)
            recorded.setdefault(instrument, 0)
            if stream == "snap":
                recorded[instrument] = max(recorded[instrument], unpack(message.payload, stream)[0][1])
        stored = {instrument: await stored_epoch(self._bus, instrument) for instrument in recorded}
        newer = [instrument for instrument, epoch in stored.items() if epoch > recorded[instrument]]
        if newer and not self._rebases:
            raise FeedError(
                f"the bus knows newer epochs of {', '.join(map(str, newer))} than the tape, so readers would ignore the tape; "
                "replay with --rebase"
            )
        return stored


def _parse(message: TapedMessage) -> tuple[InstrumentId, str]:
    try:
        return parse_subject(message.subject)
    except ValueError as error:
        raise FeedError(f"on the tape: {error}") from None


def run(arguments: argparse.Namespace) -> int:
    return _cli.run("replay", arguments, main)


async def main(arguments: argparse.Namespace, options: BusOptions) -> int:
    async with await connect(options) as bus:
        replay = Replay(bus, arguments.file, arguments.rebase)
        await replay.run(arguments.speed)
    log.info("%d messages of %d instruments", replay.messages, len(replay.status))
    return _cli.EXIT_OK
