"""Listens to the subjects, reads the streams, and hands both to the checks: the part that does I/O."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats.errors

from mdstream.bus import MD_LOG, MD_STATE, STREAMS, Bus, Stored, subject
from mdstream.bus.leases import Leases, encode_lease_venue
from mdstream.bus.spellings import Meant, meant, near, wrong_spellings
from mdstream.bus.streams import LEASES_SUBJECT
from mdstream.check.findings import Finding, Findings
from mdstream.check.instrument import ANNOUNCEMENT, InstrumentCheck
from mdstream.check.report import BusReport, InstrumentReport
from mdstream.errors import BusError
from mdstream.model import InstrumentId

logger = logging.getLogger(__name__)

TICK_S = 0.25
STORING_S = 1.0
"""How long JetStream may take to store what was heard."""
LOG_US = 20_000_000
LOG_MARGIN_US = 5_000_000
"""How far back the log is read: so long, and to a little before the stored snap."""
LOG_MESSAGES = 100_000
WAITING = 200_000
"""Live messages that are held while the streams are read."""
HINT_S = 1.0

ALL = "md.>"


@dataclass(frozen=True, slots=True)
class Options:
    """What to check."""

    instruments: tuple[InstrumentId, ...] = ()
    """None: all that are on the bus."""
    for_s: float = 15.0
    """How long to listen, after the streams were read."""


async def check(bus: Bus, options: Options) -> BusReport:
    """Listens for a while, or until it is cancelled, and says what was found. Raises BusError."""
    return await _Listener(bus, options).run()


class _Listener:
    def __init__(self, bus: Bus, options: Options) -> None:
        self._bus = bus
        self._options = options
        self._started_s = time.monotonic()
        self._wall_offset_us = time.time_ns() // 1000 - int(self._started_s * 1e6)
        self._checks: dict[InstrumentId, InstrumentCheck] = {}
        self._findings = Findings()
        self._meant: dict[str, Meant | None] = {}
        self._waiting: deque[tuple[str, bytes, float]] | None = deque(maxlen=WAITING)
        self._present: dict[str, set[str]] = {}
        """Stream of JetStream → the subjects that it holds; a stream that does not exist is absent."""
        self._asked = False
        self._leases = Leases()

    async def run(self) -> BusReport:
        stop_counting = self._bus.on_reconnect(self._missed)
        try:
            await self._subscribe()
            await asyncio.sleep(STORING_S)
            await self._look_at_streams()
            await self._catch_up()
            await self._listen()
            await asyncio.sleep(STORING_S)
            await self._look_at_end()
        finally:
            stop_counting()
        listened_s = time.monotonic() - self._started_s
        reports = [InstrumentReport.of(each, listened_s) for _, each in sorted(self._checks.items())]
        leases = self._leases.said()
        return BusReport(self._bus.options.where, listened_s, list(self._findings), reports, leases)

    def _wall_us(self, at_s: float) -> int:
        return int(at_s * 1e6) + self._wall_offset_us

    # ---- live messages

    async def _subscribe(self) -> None:
        names = [ALL]
        if self._options.instruments:
            names = [subject(each, "*") for each in self._options.instruments]
            names += [name for each in self._options.instruments for name in wrong_spellings(each)]
        for name in names:
            await self._bus.subscribe(name, self._on_message)
        for instrument in self._options.instruments:
            self._check(instrument)
        venues = {each.venue for each in self._options.instruments}
        for token in [encode_lease_venue(venue) for venue in sorted(venues)] or ["*"]:
            await self._bus.subscribe(f"{LEASES_SUBJECT}.{token}.>", self._on_lease)
        await self._bus.flush()

    def _on_lease(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        self._leases.take(name.decode(errors="replace"), payload)

    def _on_message(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        message = name.decode(errors="replace"), payload, time.monotonic()
        if self._waiting is None:
            self._take(*message)
        else:
            self._waiting.append(message)

    def _take(self, name: str, payload: bytes, at_s: float) -> None:
        if name not in self._meant:
            self._meant[name] = meant(name)
        found = self._meant[name]
        one = self._take_name(name, found, at_s)
        if one is not None and found is not None and found.stream:
            one.take(found.stream, payload, at_s, name if found.said else "")

    def _take_name(self, name: str, found: Meant | None, at_s: float) -> InstrumentCheck | None:
        """The check that a message on this subject belongs to; tells what is wrong with the subject."""
        if found is None:
            said = "it must read md.<venue>.<symbol>.<stream>"
            self._findings.add(Finding("subject", name, said, at_s - self._started_s))
            return None
        if self._options.instruments and found.instrument not in self._checks:
            return None
        one = self._check(found.instrument)
        if found.said:
            one.misplaced(name, found.said, at_s)
        return one

    def _check(self, instrument: InstrumentId) -> InstrumentCheck:
        """The check of an instrument; one of which nothing is stored begins as a writer that starts now."""
        one = self._checks.get(instrument)
        if one is None:
            one = self._checks[instrument] = InstrumentCheck(
                instrument, self._started_s, wall_us=self._wall_us, max_payload=self._bus.max_payload_bytes
            )
            if self._waiting is None and self._asked and not self._is_stored(instrument):
                one.catch_up({}, {}, time.monotonic())
        return one

    def _is_stored(self, instrument: InstrumentId) -> bool:
        names = {subject(instrument, stream) for stream in STREAMS}
        return any(names & subjects for subjects in self._present.values())

    def _missed(self) -> None:
        for one in self._checks.values():
            one.missed(time.monotonic())

    # ---- what is stored

    async def _look_at_streams(self) -> None:
        """Which subjects the streams hold now."""
        if self._bus.client.offers_jetstream:
            answers = {stream: await self._stream_info(stream) for stream in (MD_STATE, MD_LOG)}
            self._present = {
                name: set(a["state"].get("subjects") or {}) for name, a in answers.items() if a is not None
            }
            self._asked = True

    async def _stream_info(self, stream: str) -> dict[str, Any] | None:
        """The server's answer, with its time; None if there is no such stream. Raises BusError."""
        asked_s = time.monotonic()
        body = json.dumps({"subjects_filter": ALL}).encode()
        try:
            reply = await self._bus.client.request(
                f"{self._bus.options.api_prefix}.STREAM.INFO.{stream}",
                body,
                timeout=self._bus.options.request_timeout_s,
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"{stream} cannot be asked: {error}") from error
        answer: dict[str, Any] = json.loads(reply.data)
        if "ts" in answer:
            self._wall_offset_us = _time_us(answer["ts"]) - int((asked_s + time.monotonic()) / 2 * 1e6)
        return answer if "state" in answer else None

    async def _catch_up(self) -> None:
        """Reads what is stored, then goes on with the live messages that came meanwhile."""
        for instrument in self._options.instruments or self._stored_instruments():
            stored = await self._stored(instrument)
            log = {stream: await self._log(instrument, stream, stored) for stream in ("book", "trade")}
            if self._asked:
                self._check(instrument).catch_up(stored, log, time.monotonic())
        waiting, self._waiting = self._waiting or deque(), None
        if len(waiting) == WAITING:
            self._missed()
        for message in waiting:
            self._take(*message)

    def _stored_instruments(self) -> list[InstrumentId]:
        """Those with a subject that is right; of the others it is told."""
        found: set[InstrumentId] = set()
        for name in set[str]().union(*self._present.values()):
            other = meant(name)
            if other is None or other.said:
                self._take_name(name, other, time.monotonic())
            else:
                found.add(other.instrument)
        return sorted(found)

    async def _stored(self, instrument: InstrumentId) -> dict[str, Stored]:
        if MD_STATE not in self._present:
            return {}
        found = {
            stream: await self._bus.last_stored(MD_STATE, subject(instrument, stream))
            for stream in ANNOUNCEMENT
        }
        return {stream: stored for stream, stored in found.items() if stored is not None}

    async def _log(self, instrument: InstrumentId, stream: str, stored: dict[str, Stored]) -> deque[bytes]:
        found: deque[bytes] = deque(maxlen=LOG_MESSAGES)
        name = subject(instrument, stream)
        if name not in self._present.get(MD_LOG, ()):
            return found
        since_us = self._wall_us(time.monotonic()) - (LOG_US if self._options.instruments else LOG_MARGIN_US)
        if "snap" in stored:
            since_us = min(since_us, stored["snap"].stored_us - LOG_MARGIN_US)
        async with aclosing(self._bus.log(name, since_us=since_us)) as payloads:
            async for payload in payloads:
                found.append(payload)
        return found

    # ---- time

    async def _listen(self) -> None:
        """Ends early, and with a verdict, if the task is cancelled."""
        ends_s = time.monotonic() + self._options.for_s
        logger.info("listening for %g s", self._options.for_s)
        try:
            while (left_s := ends_s - time.monotonic()) > 0:
                await asyncio.sleep(min(TICK_S, left_s))
                for one in self._checks.values():
                    one.tick(time.monotonic())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()

    async def _look_at_end(self) -> None:
        await self._look_at_streams()
        self._judge_streams()
        await self._look_for_what_was_heard()
        for instrument, one in list(self._checks.items()):
            if not one.live and not one.findings and not self._is_stored(instrument):
                one.silent(
                    f"nothing of {instrument} is stored, and nothing came{await self._hint(instrument)}"
                )

    async def _look_for_what_was_heard(self) -> None:
        """Whether it is stored. What came just before may not be yet: of what seems to be missing it is asked once more, a little later."""
        heard = [
            (instrument, one, stream)
            for instrument, one in self._checks.items()
            for stream in one.live
            if self._holder(stream) in self._present
        ]
        doubtful = [
            each for each in heard if not each[1].is_stored(each[2], await self._newest(each[0], each[2]))
        ]
        if doubtful:
            await asyncio.sleep(STORING_S)
        for instrument, one, stream in doubtful:
            one.stored_at_end(stream, await self._newest(instrument, stream))

    @staticmethod
    def _holder(stream: str) -> str:
        return MD_STATE if stream in ANNOUNCEMENT else MD_LOG

    async def _newest(self, instrument: InstrumentId, stream: str) -> Stored | None:
        return await self._bus.last_stored(self._holder(stream), subject(instrument, stream))

    def _judge_streams(self) -> None:
        if not self._asked:
            said = "JetStream is off on this server: nothing is stored"
            self._findings.add(Finding("no_jetstream", "", said, 0.0))
            return
        for stream in (MD_STATE, MD_LOG):
            if stream not in self._present:
                said = f"the stream {stream} does not exist: what belongs there is not stored"
                self._findings.add(Finding("no_stream", stream, said, 0.0))

    async def _hint(self, instrument: InstrumentId) -> str:
        if MD_STATE not in self._present:
            return ""
        with suppress(BusError):
            return await near(self._bus.jetstream, instrument, HINT_S)
        return ""


def _time_us(text: str) -> int:
    """A time of the server, RFC 3339 with up to nanoseconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1_000_000 + int(f"{fraction:0<6}"[:6])
