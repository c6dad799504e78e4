"""``mdstream feed record``: records what is published on the bus."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from pathlib import Path

from mdstream.bus import MD_STATE, Bus, BusOptions, Stored, connect, parse_subject, subject
from mdstream.bus.payloads import numbers, snap_number
from mdstream.errors import FeedError, PayloadError
from mdstream.feed.numbers import now_us
from mdstream.feeds import _cli
from mdstream.feeds._tape import TapedMessage, TapeWriter
from mdstream.model import InstrumentId

log = logging.getLogger("mdstream.feeds.record")

LOG_MARGIN_US = 5_000_000
"""A snapshot may be stored a little later than updates that follow it."""

DESCRIPTION = """\
Records what is published on the bus to a tape: first the state of each instrument (ref, status, snap) and the
updates since that snapshot, so that the tape alone is enough to rebuild its book; then each message as it comes.

`mdstream feed replay` reads the tape. Its format: MessagePack values back to back, a map
{"format": "mdstream.tape", "version": 1, "recorded_us": …}, then [ts, subject, payload] for each message.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    _cli.configure(parser, DESCRIPTION)
    parser.add_argument("file", metavar="FILE", type=Path, help="a new file; gzipped if its name ends in .gz")
    parser.add_argument(
        "--instruments",
        metavar="A,B,…",
        default="*",
        help="what to record, as VENUE:SYMBOL; * and ? match any characters",
    )
    parser.add_argument(
        "--for",
        dest="duration_s",
        metavar="TIME",
        type=_cli.duration_s,
        help="stop after this time: 500ms, 10s, 5m (default: until Ctrl-C)",
        default=argparse.SUPPRESS,
    )


class Recorder:
    """Writes the tape. Live messages wait until the stored state is written."""

    def __init__(self, bus: Bus, tape: TapeWriter, patterns: Sequence[str]) -> None:
        self.instruments: set[InstrumentId] = set()
        self._bus = bus
        self._tape = tape
        self._patterns = patterns
        self._waiting: list[TapedMessage] | None = []

    async def start(self) -> None:
        """Subscribes, writes the state, then the messages that came meanwhile. Raises BusError."""
        await self._bus.subscribe("md.*.*.*", self._on_payload)
        await self._bus.flush()
        await self._bus.ensure_streams()
        for instrument in await self._stored_instruments():
            await self._write_state(instrument)
        waiting, self._waiting = self._waiting or [], None
        for message in waiting:
            self._tape.write(message)

    def _on_payload(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        try:
            instrument, _stream = parse_subject(name.decode())
        except ValueError as error:
            log.warning("not recorded: %s", error)
            return
        if not self._wanted(instrument):
            return
        self.instruments.add(instrument)
        message = TapedMessage(now_us(), name.decode(), payload)
        if self._waiting is None:
            self._tape.write(message)
        else:
            self._waiting.append(message)

    def _wanted(self, instrument: InstrumentId) -> bool:
        return any(fnmatchcase(str(instrument), pattern) for pattern in self._patterns)

    async def _stored_instruments(self) -> list[InstrumentId]:
        info = await self._bus.jetstream.stream_info(MD_STATE, subjects_filter="md.*.*.ref")
        found = [parse_subject(name)[0] for name in info.state.subjects or {}]
        return sorted(instrument for instrument in found if self._wanted(instrument))

    async def _write_state(self, instrument: InstrumentId) -> None:
        at_us = now_us()
        self.instruments.add(instrument)
        snap: Stored | None = None
        for stream in ("ref", "status", "snap"):
            name = subject(instrument, stream)
            stored = await self._bus.last_stored(MD_STATE, name)
            if stored is None:
                continue
            self._tape.write(TapedMessage(at_us, name, stored.payload))
            snap = stored if stream == "snap" else snap
        if snap is not None:
            await self._write_log(instrument, snap, at_us)

    async def _write_log(self, instrument: InstrumentId, snap: Stored, at_us: int) -> None:
        """Writes the updates since the snapshot: without them the tape would begin with a gap."""
        name = subject(instrument, "book")
        try:
            epoch, seq = snap_number(snap.payload)
            async with aclosing(self._bus.log(name, since_us=snap.stored_us - LOG_MARGIN_US)) as payloads:
                async for payload in payloads:
                    if any(number == epoch and last > seq for number, _, last in numbers("book", payload)):
                        self._tape.write(TapedMessage(at_us, name, payload))
        except PayloadError as error:
            log.warning(
                "%s: the stored data cannot be read, so the tape begins without it: %s", instrument, error
            )


def run(arguments: argparse.Namespace) -> int:
    return _cli.run("record", arguments, main)


async def main(arguments: argparse.Namespace, options: BusOptions) -> int:
    patterns = [pattern.strip() for pattern in arguments.instruments.split(",") if pattern.strip()]
    async with await connect(options) as bus:
        try:
            tape = TapeWriter(arguments.file, now_us())
        except FileExistsError:
            raise FeedError(f"{arguments.file} exists; recordings are not overwritten") from None
        with tape:
            recorder = Recorder(bus, tape, patterns)
            try:
                await recorder.start()
                log.info("recording %d instruments to %s", len(recorder.instruments), arguments.file)
                await asyncio.sleep(getattr(arguments, "duration_s", float("inf")))
            finally:
                log.info(
                    "%d messages of %d instruments, %d bytes of payload",
                    tape.messages,
                    len(recorder.instruments),
                    tape.payload_bytes,
                )
    return _cli.EXIT_OK
