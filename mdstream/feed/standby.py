"""One of several equal feed handlers: writes while it holds the lease, else follows hot and takes over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mdstream.bus.leases import Record
from mdstream.errors import BusError, BusUnavailable
from mdstream.feed.claim import ServerClock
from mdstream.feed.lease import Answer, Lease
from mdstream.feed.shadow import Shadow

if TYPE_CHECKING:
    from mdstream.bus import Bus
    from mdstream.feed.instrument import Instrument, Tail
    from mdstream.feed.writer import TradeId

log = logging.getLogger("mdstream.feed")

AT_ONCE = 32
"""Instruments that are taken over at a time."""
HAND_OVER_S = 1.5
"""How long a writer who leaves waits for a follower to take the lease."""
SETTLE_S = 0.5
"""How long it waits for its last words to be stored."""
PATIENCE_S = 10.0
"""How long a follower without a book leaves a lease that was given up to others, or to itself, once it has one."""
PAUSE_S = 0.02
UNSURE = "JetStream does not answer, so the feed handler cannot know whether another publishes"

Position = tuple[int, int, int]


class Side(Protocol):
    """The publisher."""

    instruments: dict[str, Instrument]

    async def flush(self) -> None: ...
    async def settled(self, within_s: float) -> None: ...
    async def write(self, instrument: Instrument, tail: Tail | None, last_trade: TradeId | None) -> None: ...
    def go_on(self) -> None: ...
    def withhold(self, reason: str) -> None: ...
    def step_down(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What it works with."""

    bus: Bus
    clock: ServerClock
    begin: Callable[[Coroutine[Any, Any, None]], None]
    monotonic_us: Callable[[], int]


class Standby:
    """``writes``: whether we are the writer. ``may_send`` must be asked before anything is sent."""

    def __init__(self, side: Side, lease: Lease, means: Means) -> None:
        self.writes = False
        self.lease = lease
        self._side = side
        self._bus = means.bus
        self._clock = means.clock
        self._begin = means.begin
        self._monotonic_us = means.monotonic_us
        self._shadows: dict[str, Shadow] = {}
        self._nudged = asyncio.Event()
        self._was_ready = False
        self._mending: asyncio.Task[None] | None = None
        self._busy = asyncio.Lock()
        """Held while the lease is renewed, taken or given up."""

    async def start(self) -> None:
        """Becomes the writer if nobody has the lease, else follows; while JetStream is away too.

        Raises BusError if the lease can never be stored, because there is no bucket and we may not create it.
        """
        await self.lease.watch()
        try:
            await self._bus.ensure_leases()
            self._clock.set(await self._bus.server_us())
            await self.lease.look()
        except (BusUnavailable, TimeoutError) as error:
            log.warning("%s: the lease cannot be asked for now, so we follow: %s", self.lease.name, error)
        else:
            await self._take_if_free()
        self._begin(self._run())

    async def _take_if_free(self) -> None:
        if self.lease.record is None and await self.lease.take() is Answer.DONE:
            self.writes = True
            log.info("%s: we write; nobody had the lease", self.lease.name)
        else:
            log.info("%s: we follow; the lease is that of %s", self.lease.name, self.lease.record)

    def may_send(self) -> bool:
        """False where another writes, and once the lease may be another's; then it is asked for at once."""
        if self.lease.is_ours or not self.writes:
            return self.writes
        self._nudged.set()
        return False

    def nudge(self) -> None:
        """Something has happened: the lease is renewed, or asked for, now."""
        self._nudged.set()

    async def follow(self, instrument: Instrument) -> None:
        """Another writes this instrument: its words are followed from now on."""
        instrument.follow()
        shadow = Shadow(self._bus, instrument.id, self._clock)
        former = self._shadows.get(instrument.id.symbol)
        self._shadows[instrument.id.symbol] = shadow
        if former is not None:
            await former.stop()
        await shadow.start()

    # ---- in turns

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            self.lease.changed.clear()
            try:
                async with self._busy:
                    pause_s = await (self._hold() if self.writes else self._wait_for_turn())
            except Exception:
                # Whatever it was: who stops renewing and looking here helps nobody.
                log.exception("%s: the lease could not be seen to", self.lease.name)
                pause_s = self.lease.renew_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._either()

    async def _either(self) -> None:
        waits = [asyncio.ensure_future(each.wait()) for each in (self._nudged, self.lease.changed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _hold(self) -> float:
        """Renews the lease; returns when to do it again."""
        answer = await self.lease.renew()
        if answer is Answer.LOST:
            self._step_down()
            return PAUSE_S
        if answer is Answer.UNKNOWN:
            self._mend()
        self._side.withhold(UNSURE if answer is Answer.UNKNOWN and self.lease.is_ending else "")
        if self.lease.is_ours:
            self._side.go_on()
        return self.lease.renew_s if answer is Answer.DONE else self.lease.renew_s / 2

    def _mend(self) -> None:
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self.lease.mend())

    async def _wait_for_turn(self) -> float:
        """Takes the lease if that is due; returns when to look again."""
        wait_us = self.lease.wait_us + self._patience_us()
        if wait_us > 0:
            self._tell_ready()
            await self.lease.show_standby(self._is_ready())
            return min(wait_us / 1e6, self.lease.renew_s)
        answer = await self.lease.take()
        if answer is Answer.DONE:
            await self._take_over(self.lease.record)
        if answer is not Answer.UNKNOWN:
            return PAUSE_S
        self._mend()
        return self.lease.renew_s

    def _tell_ready(self) -> None:
        ready = self._is_ready()
        if ready and not self._was_ready:
            log.info("%s: we are ready to take over from %s", self.lease.name, self.lease.record)
        self._was_ready = ready

    def _patience_us(self) -> int:
        """Others who know the venue's books may be quicker."""
        record = self.lease.record
        if record is None or self._is_ready():
            return 0
        patience_us = int(PATIENCE_S * 1e6) if record.released else self.lease.ttl_us
        return max(patience_us - self.lease.over_us, 0)

    def _is_ready(self) -> bool:
        """Whether we have every book that the writer has."""
        instruments = self._side.instruments
        return bool(instruments) and all(
            each.has_book or (symbol in self._shadows and not self._shadows[symbol].has_book)
            for symbol, each in instruments.items()
        )

    # ---- taking over

    async def _take_over(self, before: Record | None) -> None:
        self._side.step_down()  # nothing of an earlier life is sent now
        self.writes = True
        tails = before.tails if before is not None and before.released else {}
        log.warning("%s: we write now; before that the lease was that of %s", self.lease.name, before)
        shadows, self._shadows = self._shadows, {}
        turn = asyncio.Semaphore(AT_ONCE)
        with suppress(BusError, TimeoutError):
            async with asyncio.timeout(self.lease.renew_s):
                self._clock.set(await self._bus.server_us())

        async def bring(symbol: str, instrument: Instrument) -> None:
            async with turn:
                await self._bring(instrument, shadows.get(symbol), tails.get(symbol))

        renewing = asyncio.ensure_future(self._keep_renewed())
        try:
            await asyncio.gather(*(bring(*each) for each in tuple(self._side.instruments.items())))
        finally:
            renewing.cancel()
        for shadow in shadows.values():
            await shadow.stop()

    async def _keep_renewed(self) -> None:
        """Many instruments take longer than the lease lasts."""
        while True:
            await asyncio.sleep(self.lease.renew_s)
            await self.lease.renew()

    async def _bring(self, instrument: Instrument, shadow: Shadow | None, position: Position | None) -> None:
        tail = None
        if shadow is not None and position is not None and _same_scale(instrument, shadow):
            tail = shadow if await shadow.agrees(position) else None
        if position is not None and tail is None:
            log.warning("%s: its last words are not all known here; a new epoch begins", instrument.id)
        try:
            await self._side.write(instrument, tail, None if shadow is None else shadow.trade_id)
        except BusError as error:
            log.error("%s: %s", instrument.id, error)
        if shadow is not None:
            await shadow.stop()

    # ---- stepping down

    def _step_down(self, *, stays: bool = True) -> None:
        log.warning("%s: the lease is that of %s now; we follow", self.lease.name, self.lease.record)
        self.writes = self._was_ready = False
        self._side.step_down()
        for instrument in self._side.instruments.values() if stays else ():
            self._begin(self.follow(instrument))

    async def challenged(self) -> bool:
        """Another writer was heard with a greater epoch: whether the lease is ours nevertheless."""
        async with self._busy:
            if self.writes and await self.lease.renew() is Answer.LOST:
                self._step_down()
        return self.writes

    # ---- handing over

    async def hand_over(self, *, stays: bool = True) -> bool:
        """Gives the lease up to a follower, who goes on after our last words; then, if it ``stays``, follows. False: nobody takes it,
        and we go on.
        """
        async with self._busy:
            if not self.writes:
                return True
            await self._say_last_words()
            if not self.lease.is_ours:
                self._step_down()
                return True
            self.writes = False
            instruments = self._side.instruments
            tails = {symbol: _position(each) for symbol, each in instruments.items()}
            if await self.lease.release(tails) is Answer.DONE and await self._taken():
                self._step_down(stays=stays)
                return True
            return not await self._take_back(tails)

    async def _say_last_words(self) -> None:
        instruments = tuple(self._side.instruments.values())
        for instrument in instruments:
            instrument.last_words()
        for instrument in instruments:
            instrument.follow()
        await self._side.flush()
        await self._side.settled(SETTLE_S)

    async def _taken(self) -> bool:
        """Waits until another has taken the lease; not at all if nobody follows."""
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_S if self.lease.has_standby else PAUSE_S):
                while (record := self.lease.record) is None or record.holder == self.lease.me:
                    self.lease.changed.clear()
                    await self.lease.changed.wait()
                return True
        return False

    async def _take_back(self, tails: dict[str, Position]) -> bool:
        answer = await self.lease.take_back()
        if answer is Answer.LOST:
            self._step_down()
        if answer is not Answer.DONE:
            return False
        self.writes = True
        for symbol, instrument in tuple(self._side.instruments.items()):
            if symbol in tails and _position(instrument) == tails[symbol]:
                instrument.resume()
            else:  # it was opened meanwhile
                await self._bring(instrument, self._shadows.pop(symbol, None), None)
        return True

    async def leave(self) -> None:
        """Gives the lease up without waiting: the next to come need not wait. Ends what follows."""
        if self._mending is not None:
            self._mending.cancel()
        for shadow in self._shadows.values():
            await shadow.stop()
        async with self._busy:
            if self.writes:
                self.writes = False
                tails = {symbol: _own_position(each) for symbol, each in self._side.instruments.items()}
                await self.lease.release(tails)


def _position(instrument: Instrument) -> Position:
    tail = instrument.tail
    return tail.book.epoch, tail.book.seq, tail.trade_seq


def _own_position(instrument: Instrument) -> Position:
    return instrument.epoch, instrument.seq, instrument.trade_seq


def _same_scale(instrument: Instrument, shadow: Shadow) -> bool:
    ours, theirs = instrument.ref, shadow.ref
    return theirs is not None and (ours.price_exp, ours.size_exp) == (theirs.price_exp, theirs.size_exp)
