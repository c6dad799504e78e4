"""The instruments that this gateway has open: opened by the first who asks, let go some time after the last has left."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mdstream.bus import Readers, ReaderStats, UnknownInstrument
from mdstream.codes import ErrorCode
from mdstream.errors import BusError, CommandError, FeedError
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.listing import Listing, Standing
from mdstream.gateway.target import HubTarget
from mdstream.model import InstrumentId, Ref, State

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic

log = logging.getLogger("mdstream.gateway.market")

_SETTLING_S = 0.2
"""What bringing a book up to date from the bus takes at most, as a rule."""
_LEAST_LINGER_US = 1_000_000
"""Between the opening of an instrument and the subscription that asked for it, nothing may let it go."""


class Ender(Protocol):
    def __call__(self, core: Instrument, reason: str) -> None:
        """Ends every subscription to an instrument, telling why."""


class Market:
    """Opens instruments and lets them go, and tells their subscribers how they stand."""

    def __init__(
        self, config: GatewayConfig, hub: Hub, flush: Callable[[], object], *, now_us: Callable[[], int]
    ) -> None:
        """``flush`` flushes the hub."""
        self._config = config
        self._hub = hub
        self._flush = flush
        self._now_us = now_us
        self._readers: Readers | None = None
        self._listings: dict[str, Listing] = {}
        self._opening: dict[str, asyncio.Task[Listing]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self.end_subscriptions: Ender = _nobody_to_end

    def use(self, readers: Readers) -> None:
        """From now on instruments can be opened; ``close`` closes the readers."""
        self._readers = readers

    # ---- opening

    def find(self, name: str) -> Listing | None:
        """The open instrument of that name."""
        return self._listings.get(name)

    def listings(self, names: Sequence[str], channel: str, *, settled: bool = False) -> list[Listing] | None:
        """Those of ``names``, if all are open (and, if asked for, have data to show); else None: ``open`` them."""
        try:
            found = [self._listings[name] for name in names]
        except KeyError:
            return None
        if settled and not all(listing.standing(channel).settled.is_set() for listing in found):
            return None
        return found

    async def open(
        self, ids: Sequence[InstrumentId], channel: str, *, settled: bool = False
    ) -> list[Listing]:
        """Opens what is not open yet, once for all who ask; raises CommandError ``unknown_instrument`` or ``unavailable``.

        ``settled``: waits, within the same deadline, until there is data to show, for only that can be resumed; else it waits
        no longer than it takes as a rule, so that clients are not told ``recovering`` for nothing.
        """
        deadline_s = asyncio.get_running_loop().time() + self._config.open_timeout_ms / 1000
        tasks = [self._task(id) for id in ids if str(id) not in self._listings]
        await _wait(tasks, deadline_s)
        for task in tasks:
            if not task.done():
                raise _unavailable("NATS did not answer in time; try again")
            if task.cancelled():
                raise _unavailable("this gateway stops")
            task.result()
        found = self.listings([str(id) for id in ids], channel)
        if found is None:
            raise _unavailable("an instrument was let go meanwhile; try again")
        if not settled:
            deadline_s = min(deadline_s, asyncio.get_running_loop().time() + _SETTLING_S)
        await _wait_settled([listing.standing(channel) for listing in found], deadline_s)
        return found

    def _task(self, id: InstrumentId) -> asyncio.Task[Listing]:
        name = str(id)
        task = self._opening.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._open_one(id))
            self._opening[name] = task
            task.add_done_callback(lambda done: self._opened(name, done))
        return task

    def _opened(self, name: str, task: asyncio.Task[Listing]) -> None:
        del self._opening[name]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, CommandError):
            log.error("%s could not be opened", name, exc_info=error)

    async def _open_one(self, id: InstrumentId) -> Listing:
        if str(id) in self._closing:
            await asyncio.wait([self._closing[str(id)]])
        if self._readers is None or not self._readers.bus.connected:
            raise _unavailable("NATS is not connected; try again")
        listing = Listing(id, self._now_us, self._told, self._announced)
        try:
            listing.reader = await self._readers.open(id, lambda ref: self._add(listing, ref), listing)
        except BaseException as error:
            if listing.opened:
                self._hub.remove_instrument(listing.core)
            if isinstance(error, UnknownInstrument):
                raise CommandError(ErrorCode.UNKNOWN_INSTRUMENT, f"no publisher has announced {id}") from None
            if isinstance(error, BusError | FeedError):
                raise _unavailable(f"{id} cannot be opened now: {error}") from None
            raise
        self._listings[listing.name] = listing
        log.debug("%s opened", id)
        return listing

    def _add(self, listing: Listing, ref: Ref) -> HubTarget:
        listing.begin(self._hub.add_instrument(listing.name, ref.price_exp, ref.size_exp), ref)
        return HubTarget(self._hub, listing.core)

    # ---- what subscribers are sent

    def show(self, sink: Sink, topic: Topic, listing: Listing) -> None:
        """Brings a new subscription up to date, as soon as there is data to show."""
        standing = listing.standing(topic.channel)
        if standing.settled.is_set():
            self._hub.catch_up(sink, topic)
        else:
            standing.wait(sink, topic, self._is_subscribed)

    def _told(self, listing: Listing, standing: Standing) -> None:
        """The state has changed: tells every subscriber, after the data that it may have waited for."""
        self._hub.cork()
        try:
            self._flush()
            if standing.state is not State.RECOVERING and not standing.settled.is_set():
                self._show_waiting(standing)
            for topic in listing.core.topics:
                if listing.standing(topic.channel) is standing:
                    self._hub.broadcast(topic, *standing.messages(topic.number))
        finally:
            self._hub.uncork()

    def _show_waiting(self, standing: Standing) -> None:
        for sink, topic in standing.settle():
            if self._is_subscribed(sink, topic):
                self._hub.catch_up(sink, topic)

    def _is_subscribed(self, sink: Sink, topic: Topic) -> bool:
        return not sink.closed and self._hub.find(sink, topic.number) is not None

    def _announced(self, listing: Listing, rescaled: bool) -> None:
        """New reference data; with other decimals all that clients hold means another thing, so they begin anew."""
        if rescaled and self._listings.get(listing.name) is listing:
            log.warning("%s was announced with other decimals; its subscriptions end", listing.name)
            self.end_subscriptions(listing.core, "the decimals of the instrument changed; subscribe again")
            self._let_go(listing)

    # ---- time

    def sweep(self) -> None:
        """Call about once a second: lets go what nobody wants any more."""
        now_us = self._now_us()
        linger_us = max(self._config.linger_ms * 1000, _LEAST_LINGER_US)
        for listing in list(self._listings.values()):
            listing.note_movement(now_us)
            if any(topic.subscribers for topic in listing.core.topics):
                listing.idle_since_us = None
            elif listing.idle_since_us is None:
                listing.idle_since_us = now_us
            elif now_us - listing.idle_since_us >= linger_us:
                self._let_go(listing)

    def _let_go(self, listing: Listing) -> None:
        del self._listings[listing.name]
        task = asyncio.get_running_loop().create_task(self._close_one(listing))
        self._closing[listing.name] = task
        task.add_done_callback(lambda _: self._closing.pop(listing.name, None))

    async def _close_one(self, listing: Listing) -> None:
        if listing.reader is not None:
            await listing.reader.close()
        self._hub.remove_instrument(listing.core)
        log.debug("%s let go", listing.name)

    async def close(self) -> None:
        """Ends all readers; nothing can be opened any more."""
        readers, self._readers = self._readers, None
        openings = list(self._opening.values())
        for task in openings:
            task.cancel()
        await asyncio.gather(*openings, *self._closing.values(), return_exceptions=True)
        self._listings.clear()
        if readers is not None:
            await readers.close()

    # ---- figures

    @property
    def stats(self) -> ReaderStats:
        """What the readers counted since the start."""
        return self._readers.stats if self._readers is not None else ReaderStats()

    def count_states(self) -> Counter[str]:
        """Open instruments by the state of their books; every state is there."""
        counts: Counter[str] = Counter({state.value: 0 for state in State})
        counts.update(listing.standing("book").state.value for listing in self._listings.values())
        return counts

    def data_ages(self, most: int) -> Iterable[tuple[str, float]]:
        """Seconds since anything arrived, to a second, of at most so many instruments, by name."""
        now_us = self._now_us()
        named = sorted((listing.name, listing.moved_us) for listing in self._listings.values())
        return [(name, max(now_us - moved_us, 0) / 1e6) for name, moved_us in named[:most]]


async def _wait(futures: Sequence[asyncio.Future[Any]], deadline_s: float) -> None:
    """Until all are done or the loop's time is ``deadline_s``; cancels none."""
    if futures:
        await asyncio.wait(futures, timeout=max(deadline_s - asyncio.get_running_loop().time(), 0))


async def _wait_settled(standings: Iterable[Standing], deadline_s: float) -> None:
    waits = [asyncio.ensure_future(s.settled.wait()) for s in standings if not s.settled.is_set()]
    await _wait(waits, deadline_s)
    for wait in waits:
        wait.cancel()


def _nobody_to_end(core: Instrument, reason: str) -> None:
    """Until sessions are joined to the market there is nobody."""


def _unavailable(message: str) -> CommandError:
    return CommandError(ErrorCode.UNAVAILABLE, message)
