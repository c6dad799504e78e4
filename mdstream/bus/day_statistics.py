"""The statistics of the last 24 hours, which ``mdstream candles`` keeps in MD_CANDLES: read while somebody asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from mdstream.bus.log import newest
from mdstream.bus.subjects import statistics_subject
from mdstream.errors import BusError
from mdstream.model import MAX_EXPONENT, MAX_NUMBER, InstrumentId

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

MD_CANDLES: Final = "MD_CANDLES"
AGAIN_S: Final = 30.0
"""Between two looks for what was stored, until there is something."""
KEPT_S: Final = 30.0
MOST: Final = 100_000
OLD_US: Final = 300_000_000
"""Statistics that nobody has renewed for so long are none: a writer renews them each minute."""
_STORED: Final = "stats.*.*"
_LIVE: Final = "mdstream.candles."
"""Before a subject: what the stream has stored comes again there. On the subject itself, two writers may contradict each other."""
_KIND: Final = 6


class _Told(msgspec.Struct, array_like=True, frozen=True):
    kind: int
    epoch: int
    ts_us: int
    open: int | None
    high: int | None
    low: int | None
    volume: int | None
    count: int
    since_us: int
    price_exp: int
    size_exp: int
    flags: int = 0


_decode = msgspec.msgpack.Decoder(_Told).decode


class Day(NamedTuple):
    """What was traded in the last 24 hours, in ticks and lots of an instrument; ``since_us``: the oldest trade of it, 0: none."""

    open: int | None
    high: int | None
    low: int | None
    volume: int | None
    since_us: int


NO_DAY: Final = Day(None, None, None, None, 0)


def read_day(payload: bytes, price_exp: int, size_exp: int, wall_us: int) -> Day:
    """The statistics in this scale; none where they are old, are no statistics, or cannot be said in this scale."""
    try:
        told = _decode(payload)
    except (msgspec.MsgspecError, ValueError):
        return NO_DAY
    if told.kind != _KIND or told.ts_us < wall_us - OLD_US or not 0 <= told.since_us <= MAX_NUMBER:
        return NO_DAY
    if max(abs(told.price_exp), abs(told.size_exp)) > MAX_EXPONENT:
        return NO_DAY
    zeros = told.price_exp - price_exp
    found = Day(
        _rescaled(told.open, zeros),
        _rescaled(told.high, zeros),
        _rescaled(told.low, zeros),
        _rescaled(told.volume, told.size_exp - size_exp),
        told.since_us,
    )
    return NO_DAY if None in found else found


def _rescaled(value: int | None, zeros: int) -> int | None:
    if value is None or not zeros:
        return value if value is None or abs(value) <= MAX_NUMBER else None
    whole, rest = (value * 10**zeros, 0) if zeros > 0 else divmod(value, 10**-zeros)
    return None if rest or abs(whole) > MAX_NUMBER else whole


class DayStatistics:
    """The newest statistics of every instrument, as they came. Nothing is read until the first ``hold``; some time after the last
    ``release`` they are forgotten."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._payloads: dict[str, bytes] = {}
        """By subject."""
        self._holds = 0
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._forgetting: asyncio.TimerHandle | None = None
        self._unregister: Callable[[], None] | None = None

    def find(self, subject: str) -> bytes | None:
        """The payload that came last on a ``statistics_subject``."""
        return self._payloads.get(subject)

    def hold(self) -> None:
        """Somebody asks, until ``release``."""
        self._holds += 1
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if self._task is None:
            self._unregister = self._bus.on_reconnect(self._again.set)
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def release(self) -> None:
        self._holds -= 1
        if not self._holds and self._task is not None:
            self._forgetting = asyncio.get_running_loop().call_later(KEPT_S, self._forget)

    async def close(self) -> None:
        task = self._task
        self._forget()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _forget(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if self._unregister is not None:
            self._unregister()
            self._unregister = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._payloads.clear()

    async def _follow(self) -> None:
        """Hears what is new, and reads what is stored; again after each reconnect."""
        subscription: Subscription | None = None
        try:
            subscription = await self._bus.subscribe(_LIVE + _STORED, self._receive)
            while True:
                self._again.clear()
                is_read = await self._read()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if is_read else AGAIN_S):
                        await self._again.wait()
        except BusError as error:
            logger.warning("statistics of 24 hours are not listened to: %s", error)
        finally:
            if subscription is not None:
                await self._bus.unsubscribe(subscription)

    async def _read(self) -> bool:
        """Whether anything is stored: there may be no stream yet."""
        bus = self._bus
        reading = newest(bus.client, bus.jetstream, MD_CANDLES, _STORED, bus.options.replay_silence_s)
        found = False
        try:
            async with aclosing(reading) as messages:
                async for message in messages:
                    found = True
                    self._payloads.setdefault(message.subject.decode("utf-8", "replace"), message.payload)
        except BusError as error:
            logger.debug("no statistics of 24 hours: %s", error)
        return found

    def _receive(self, subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        name = subject.decode("utf-8", "replace").removeprefix(_LIVE)
        if name in self._payloads or len(self._payloads) < MOST:
            self._payloads[name] = payload


def subject_of(name: str) -> str:
    """The ``statistics_subject`` of an instrument's name."""
    return statistics_subject(InstrumentId.parse(name))
