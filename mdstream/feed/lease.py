"""The lease that makes one of several equal feed handlers the writer of a group of instruments.

It is one value in the key-value bucket ``MD_LEASES``, which its holder renews by compare-and-set on its revision. How long it lasts is
told by monotonic clocks alone: for its holder from the moment at which it sent a renewal, for the others from the moment at which they
heard of one, which is later. So they take it only after its holder knows that it is over, whatever happens to wall clocks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from mdstream.bus import Bus
from mdstream.bus.leases import MAX_TTL_S, Record, lease_subject, pack_standby
from mdstream.bus.streams import LEASES_STREAM
from mdstream.errors import BusConflict, BusError, ConfigError
from mdstream.feed.claim import ServerClock

log = logging.getLogger("mdstream.feed")

GROUP = re.compile(r"[A-Za-z0-9_-]{1,64}")
LEAST_TTL_S = 0.2
STALE_READS, STALE_S = 10, 0.01
RENEWALS = 4
"""A lease is renewed so many times in the time that it lasts."""
GO_ON, STOP = "go-on", "stop"


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """``group`` names what is written by one handler at a time, within a venue."""

    group: str
    ttl_s: float = 2.0
    """How long the lease lasts without a renewal."""
    unknown: str = GO_ON
    """What the writer does while JetStream does not answer: ``go-on`` publishing, for nobody else can take the lease there; or
    ``stop`` until it knows that the lease is its own."""
    holder: str = ""
    """What we are called; default: host and process."""

    def __post_init__(self) -> None:
        if not GROUP.fullmatch(self.group):
            raise ConfigError(
                f"lease: group {self.group!r} must be 1 to 64 letters, digits, hyphens and underscores"
            )
        if not LEAST_TTL_S <= self.ttl_s <= MAX_TTL_S:
            raise ConfigError(f"lease: it must last {LEAST_TTL_S:g} to {MAX_TTL_S} s, not {self.ttl_s:g} s")
        if self.unknown not in (GO_ON, STOP):
            raise ConfigError(f"lease: {self.unknown!r} is none of {GO_ON}, {STOP}")


class Answer(Enum):
    """What became of a try to take, renew or give up the lease."""

    DONE = "done"
    LOST = "another has it"
    UNKNOWN = "JetStream does not answer"


def default_holder() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


class Lease:
    """Knows the stored lease and whether it is ours. Nothing here waits as long as the lease lasts."""

    def __init__(
        self,
        bus: Bus,
        venue: str,
        options: LeaseOptions,
        clock: ServerClock,
        monotonic_us: Callable[[], int],
    ) -> None:
        self.subject = lease_subject(venue, options.group)
        self.name = f"{venue} {options.group}"
        self.me = f"{options.holder or default_holder()}/{secrets.token_hex(3)}"
        self.record: Record | None = None
        self.until_us = 0
        """So long it is ours, by our monotonic clock; 0: it is not."""
        self.changed = asyncio.Event()
        """Another has taken it, renewed it or given it up."""
        self._bus = bus
        self._options = options
        self._clock = clock
        self._monotonic_us = monotonic_us
        self._ttl_us = int(options.ttl_s * 1e6)
        self._revision = 0
        self._last = Record(self.me, 0, self._ttl_us // 1000)
        """What we have stored, or tried to."""
        self._seen_us = monotonic_us()
        self._told = ""
        self._standby_us = monotonic_us() - 2 * self._ttl_us

    @property
    def renew_s(self) -> float:
        return self._options.ttl_s / RENEWALS

    @property
    def ttl_us(self) -> int:
        return self._ttl_us

    @property
    def is_ours(self) -> bool:
        return self._monotonic_us() < self.until_us

    @property
    def is_ending(self) -> bool:
        """Whether more than half of its time is over; while JetStream is away that is so only if we shall stop then."""
        return self.until_us - self._monotonic_us() < self._ttl_us / 2

    @property
    def over_us(self) -> int:
        """How long the others could have taken it already."""
        if self.record is None:
            return 0
        lasts_us = 0 if self.record.released else self._lasts_us
        return max(self._monotonic_us() - self._seen_us - lasts_us, 0)

    @property
    def _lasts_us(self) -> int:
        return max(self._ttl_us, 0 if self.record is None else self.record.ttl_ms * 1000)

    @property
    def has_standby(self) -> bool:
        """Whether another who follows was heard lately."""
        return self._monotonic_us() - self._standby_us <= self._ttl_us

    @property
    def wait_us(self) -> int:
        """How long until it may be taken, as far as is known here."""
        if self.record is None or self.record.released or self.record.holder == self.me:
            return 0
        return max(self._seen_us + self._lasts_us - self._monotonic_us(), 0)

    # ---- what is stored

    async def watch(self) -> None:
        """Hears of every change from now on."""
        await self._bus.subscribe(self.subject, self._on_change)
        await self._bus.subscribe(f"{self.subject}.*", self._on_standby)

    def _on_standby(self, *_: object) -> None:
        self._standby_us = self._monotonic_us()

    async def show_standby(self, ready: bool) -> None:
        """We follow, and are seen to. Nothing depends on whether it is stored."""
        name = self.me.rpartition("/")[2]
        with suppress(BusError):
            await self._bus.publish(f"{self.subject}.{name}", pack_standby(self.me, ready))

    def _on_change(self, _: bytes, __: bytes, payload: bytes, ___: bytes | None) -> None:
        record = Record.parse(payload)
        if record is not None and record.holder != self.me:
            self._see(record)

    def _see(self, record: Record | None) -> None:
        if record != self.record:
            self.record, self._seen_us = record, self._monotonic_us()
            self.changed.set()

    async def look(self) -> None:
        """Reads what is stored. Raises BusError, TimeoutError."""
        async with asyncio.timeout(self._options.ttl_s / 2):
            for _ in range(STALE_READS):
                stored = await self._bus.last_stored(LEASES_STREAM, self.subject)
                record = None if stored is None else Record.parse(stored.payload)
                if not self._is_stale(record):
                    break
                await asyncio.sleep(STALE_S)
        self._revision = 0 if stored is None else stored.stream_seq
        self._see(record)

    def _is_stale(self, record: Record | None) -> bool:
        """In a cluster a replica may answer that has not stored yet what we have heard."""
        known = self.record
        return (
            record is not None
            and known is not None
            and record.holder == known.holder
            and record.number < known.number
        )

    # ---- to take it, to keep it, to give it up

    async def take(self) -> Answer:
        """Takes it if it is free or over; ``record`` is then the one before."""
        try:
            await self.look()
        except (BusError, TimeoutError) as error:
            return self._unknown(error)
        if self.wait_us:
            return Answer.LOST
        before = self.record
        self._last = replace(self._last, since_us=self._clock.now_us())
        answer = await self._store(self._last)
        if answer is Answer.DONE:
            self.record = before
        return answer

    async def renew(self) -> Answer:
        """Makes it last longer. While JetStream does not answer, it lasts as the options say."""
        started_us = self._monotonic_us()
        answer = await self._keep()
        if answer is Answer.UNKNOWN and self._options.unknown == GO_ON and self._bus.connected:
            # Who was stopped for a while has not waited in vain: it asks again first.
            waited_us = self._monotonic_us() - started_us
            if waited_us <= self._ttl_us:
                self.until_us = self._monotonic_us() + self._ttl_us
        if answer is Answer.LOST:
            self.until_us = 0
        return answer

    async def release(self, tails: dict[str, tuple[int, int, int]]) -> Answer:
        """Gives it up with the last words of each instrument; from now on it is not ours."""
        self.until_us = 0
        record = replace(self._last, released=True, tails=tails)
        answer = await self._store(record, ours=False)
        if answer is Answer.DONE:
            self.record = record
        return answer

    async def take_back(self) -> Answer:
        """Takes what we have given up, if nobody else has taken it."""
        return await self._keep()

    async def _keep(self) -> Answer:
        """Also where what we stored last was stored without our hearing of it."""
        answer = await self._store(self._last)
        if answer is not Answer.LOST:
            return answer
        try:
            await self.look()
        except (BusError, TimeoutError) as error:
            return self._unknown(error)
        ours = self.record is None or self.record.holder == self.me
        return await self._store(self._last) if ours else answer

    async def _store(self, record: Record, *, ours: bool = True) -> Answer:
        self._last = replace(self._last, number=self._last.number + 1)
        record = replace(record, number=self._last.number)
        sent_us = self._monotonic_us()
        try:
            async with asyncio.timeout(self.renew_s):
                self._revision = await self._bus.publish_acked(
                    self.subject, record.pack(), expected_seq=self._revision
                )
        except BusConflict:
            return Answer.LOST
        except (BusError, TimeoutError) as error:
            return self._unknown(error)
        if ours:
            self.until_us = sent_us + self._ttl_us
        if self._told:
            log.info("%s: the lease is stored again", self.name)
            self._told = ""
        return Answer.DONE

    def _unknown(self, error: Exception) -> Answer:
        """Says it once."""
        if not self._told:
            self._told = str(error) or "JetStream does not answer"
            log.warning("%s: the lease cannot be asked for: %s", self.name, self._told)
        return Answer.UNKNOWN

    async def mend(self) -> None:
        """Sees to it that the bucket exists, if that is what is wrong."""
        try:
            await self._bus.ensure_leases()
        except BusError as error:
            log.debug("%s: %s", self.name, error)
