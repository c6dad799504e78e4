"""The statistics of the last 24 hours, which ``mdstream candles`` keeps in MD_CANDLES: read while somebody asks."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from mdstream.bus.candles import decode_summary
from mdstream.bus.held import Held
from mdstream.bus.log import newest
from mdstream.bus.streams import LIVE_CANDLES_SUBJECT, MD_CANDLES, STATS_SUBJECT
from mdstream.bus.subjects import statistics_subject
from mdstream.errors import BusError
from mdstream.model import MAX_NUMBER, InstrumentId

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

logger = logging.getLogger(__name__)

AGAIN_S: Final = 30.0
"""Between two looks for what was stored, until there is something."""
MOST: Final = 100_000
OLD_US: Final = 300_000_000
"""Statistics that nobody has renewed for so long are none: a writer renews them each minute."""
_STORED: Final = f"{STATS_SUBJECT}.*.*"
_LIVE: Final = f"{LIVE_CANDLES_SUBJECT}."
"""Before a subject: what the stream has stored comes again there. On the subject itself, two writers may contradict each other."""


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
        told = decode_summary(payload)
    except ValueError:
        return NO_DAY
    if told.ts_us < wall_us - OLD_US or told.since_us < 0:
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


class DayStatistics(Held):
    """The newest statistics of every instrument, as they came, while somebody asks."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self._payloads: dict[str, bytes] = {}
        """By subject."""
        self._heard: set[str] = set()
        """Subjects of what came live since the last reading began: it is newer."""

    def find(self, subject: str) -> bytes | None:
        """The payload that came last on a ``statistics_subject``."""
        return self._payloads.get(subject)

    def _clear(self) -> None:
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
        self._heard.clear()
        try:
            async with aclosing(reading) as messages:
                async for message in messages:
                    found = True
                    name = message.subject.decode("utf-8", "replace")
                    if name not in self._heard:
                        self._keep(name, message.payload)
        except BusError as error:
            logger.debug("no statistics of 24 hours: %s", error)
        return found

    def _receive(self, subject: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        name = subject.decode("utf-8", "replace").removeprefix(_LIVE)
        self._keep(name, payload)
        if name in self._payloads:
            self._heard.add(name)

    def _keep(self, name: str, payload: bytes) -> None:
        if name in self._payloads or len(self._payloads) < MOST:
            self._payloads[name] = payload


def subject_of(name: str) -> str:
    """The ``statistics_subject`` of an instrument's name."""
    return statistics_subject(InstrumentId.parse(name))
