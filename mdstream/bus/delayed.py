"""A bus on which market data is as it was some time ago: for clients that are entitled to delayed data alone.

Everything is read from storage: updates and trades from ``MD_LOG``, and the ``snap``, ``ref`` and ``status`` of then from ``MD_PAST``, a
mirror of ``MD_STATE`` that keeps more than the last of each. Nothing is held in memory but a few messages per instrument. Readers
do not know that it is not the present: numbers, epochs and states are those of the writers, so much later.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any, NoReturn

import nats.errors

from mdstream.bus import streams
from mdstream.bus._client import Handler
from mdstream.bus.connection import Bus
from mdstream.bus.log import EPOCH, Since, replay
from mdstream.bus.options import BusOptions
from mdstream.bus.past_clock import PastClock
from mdstream.bus.past_stream import PastStream, stored_at
from mdstream.bus.past_subscription import PastSubscription
from mdstream.bus.streams import MD_LOG, MD_PAST, MD_STATE, Stored, StoredAt
from mdstream.errors import BusError, BusUnavailable

logger = logging.getLogger(__name__)

CLOCK_EVERY_S = 5.0
CHECK_EVERY_S = 1.0
PAST_EVERY_S = 30.0
REPEATED_S = 60.0
"""Writers repeat what they store so often: what MD_PAST keeps may begin so much later than its age says."""


async def connect_delayed(options: BusOptions, delay_s: float) -> DelayedBus:
    """As ``mdstream.bus.connect``; the market data is that of ``delay_s`` ago."""
    bus = DelayedBus(options, delay_s)
    await bus._open()
    return bus


class DelayedBus(Bus):
    """A connection whose market data is that of ``delay_s`` ago; call ``ensure_streams`` before anything is read."""

    def __init__(self, options: BusOptions, delay_s: float) -> None:
        super().__init__(options)
        self.delay_s = delay_s
        self._clock = PastClock(delay_s, time.monotonic)
        self._subscriptions: set[PastSubscription] = set()
        self._kept = streams.Kept(0, 0, 0)
        """Since when MD_PAST has kept everything."""
        self._told_shortage = False
        self._tasks: list[asyncio.Task[None]] = []
        self.on_disconnect(self._streams_lost)
        self.on_reconnect(self._streams_lost)

    # ---- opening and closing

    async def ensure_streams(self) -> None:
        """As that of a bus; also creates MD_PAST. Raises ConfigError if a stream keeps too little for the delay."""
        await super().ensure_streams()
        self._clock.note(await super().server_us())
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(work)
                for work in (self._watch_clock(), self._watch_past(), self._check_streams())
            ]

    async def _create_streams(self) -> None:
        await super()._create_streams()
        self._take_kept(await streams.ensure_past(self.jetstream, self.options.streams, self.delay_s))

    def _take_kept(self, kept: streams.Kept) -> None:
        """Logs it once where MD_PAST has too few bytes for the delay."""
        self._kept = kept
        shortage = kept.shortage(self.delay_s + streams.PAST_SLACK_S - REPEATED_S)
        if shortage is not None and not self._told_shortage:
            logger.warning("%s", shortage)
        self._told_shortage = shortage is not None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for subscription in tuple(self._subscriptions):
            await subscription.close()
        await super().close()

    async def _watch_clock(self) -> None:
        every_s = min(CLOCK_EVERY_S, self.delay_s / 4)
        while True:
            await asyncio.sleep(every_s)
            try:
                self._clock.note(await super().server_us())
            except BusError as error:
                logger.debug("the server's clock cannot be asked for: %s", error)

    async def _watch_past(self) -> None:
        while True:
            await asyncio.sleep(PAST_EVERY_S)
            try:
                self._take_kept(await streams.past_kept(self.jetstream))
            except (nats.errors.Error, TimeoutError) as error:
                logger.debug("%s cannot be asked how much it keeps: %s", MD_PAST, error)

    async def _check_streams(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            for subscription in tuple(self._subscriptions):
                for stream in subscription.streams:
                    stream.check()

    def _streams_lost(self) -> None:
        """What was asked of the old connection is not answered on the new one."""
        for subscription in tuple(self._subscriptions):
            for stream in subscription.streams:
                stream.lost()

    # ---- messages

    async def subscribe(self, subject: str, handler: Handler) -> Any:
        """Hands on what was published ``delay_s`` ago, from now on."""
        if not subject.startswith("md."):
            return await super().subscribe(subject, handler)
        subscription = PastSubscription(self._clock, handler, self._subscriptions.discard)
        self._subscriptions.add(subscription)
        try:
            await subscription.start(
                [
                    PastStream(self.client, self.jetstream, stream, subject, subscription.changed)
                    for stream in _streams_of(subject)
                ],
                self._clock.now_us(),
            )
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def unsubscribe(self, subscription: Any) -> None:
        if isinstance(subscription, PastSubscription):
            await subscription.close()
        else:
            await super().unsubscribe(subscription)

    # ---- JetStream

    async def server_us(self) -> int:
        """The clock of the JetStream server as it was then."""
        return self._clock.now_us()

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        """The newest message of then. Raises BusUnavailable while what was stored then is not kept."""
        if stream not in (MD_STATE, MD_LOG):
            return await super().last_stored(stream, subject)
        then_us = self._clock.now_us()
        newest = await super().last_stored(stream, subject)
        if newest is not None and self._is_due(newest.stored_us + 1):
            return newest
        found = await self._last_before(MD_PAST if stream == MD_STATE else stream, subject, then_us)
        if found is None and newest is not None and stream == MD_STATE and then_us < self._kept.since_us:
            raise BusUnavailable(self._not_kept(subject, then_us))
        return found

    async def newest_stored(self, stream: str, subject: str) -> Stored | None:
        """Of market data as ``last_stored``: what the leader has now is for nobody here."""
        if stream in (MD_STATE, MD_LOG):
            return await self.last_stored(stream, subject)
        return await super().newest_stored(stream, subject)

    async def first_stored(self, stream: str, subject: str, *, after: int = 0) -> Stored | None:
        """Nothing: what MD_STATE keeps is newer than then."""
        return None

    def _not_kept(self, subject: str, then_us: int) -> str:
        if shortage := self._kept.shortage(self.delay_s):
            return f"what {subject} was then is not known: {shortage}"
        wait_s = (self._kept.since_us - then_us) / 1e6
        return (
            f"{MD_PAST} was created less than the delay ago, and what {subject} was before is not known; "
            f"it will be in {wait_s:.0f} s"
        )

    async def stored_s(self, stream: str, stored: StoredAt) -> float:
        """How long before then a message was stored."""
        return max((self._clock.now_us() - stored.stored_us) / 1e6, 0.0)

    def log(
        self,
        subject: str,
        *,
        since_us: int | None = None,
        since_seq: int | None = None,
        may_read: Callable[[int], bool] = lambda count: True,
    ) -> AsyncGenerator[bytes, None]:
        """As that of a bus, up to then."""
        since = Since(since_us, since_seq)
        return replay(
            self.client,
            self.jetstream,
            subject,
            since,
            self.options.replay_silence_s,
            is_due=self._is_due,
            may_read=may_read,
        )

    def _is_due(self, stored_us: int) -> bool:
        return self._clock.wait_s(stored_us) <= 0

    async def _last_before(self, stream: str, subject: str, before_us: int) -> Stored | None:
        question = {"multi_last": [subject], "up_to_time": _written(before_us)}
        if not self.connected:
            raise BusUnavailable(f"{stream} cannot be asked for {subject}: {self._away()}")
        try:
            answer = await self.client.request(
                f"{self.options.api_prefix}.DIRECT.GET.{stream}",
                json.dumps(question).encode(),
                timeout=self.options.request_timeout_s,
            )
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{stream} at {self.options.where} cannot be asked for {subject}")
        headers = answer.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None
        if status is not None:
            self._refuse_question(stream, headers)
        stored_us = stored_at(headers["Nats-Time-Stamp"])
        if not self._is_due(stored_us):
            raise BusUnavailable(f"{stream} cannot tell what it held: the clock of NATS was set back")
        return Stored(answer.data, int(headers["Nats-Sequence"]), stored_us)

    def _refuse_question(self, stream: str, headers: dict[str, str]) -> NoReturn:
        raise BusError(
            f"{stream} at {self.options.where} does not tell what it held at a time ({headers.get('Status')} "
            f"{headers.get('Description', '')}); a delay needs nats-server 2.11 or later, and allow_direct of its streams"
        )


def _streams_of(subject: str) -> tuple[str, ...]:
    stream = subject.rpartition(".")[2]
    if stream in ("book", "trade"):
        return (MD_LOG,)
    return (MD_PAST,) if stream in ("snap", "ref", "status") else (MD_PAST, MD_LOG)


def _written(us: int) -> str:
    """A time as the server reads it."""
    return (EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
