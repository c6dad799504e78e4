"""The open instruments of this gateway: opened for the first client that asks, closed some time after the last one left."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mdstream.bus import Health, Readers, ReaderStats, Refusal, UnknownInstrument
from mdstream.bus.spellings import near
from mdstream.codes import RESCALED, ErrorCode
from mdstream.errors import BusError, CommandError, FeedError
from mdstream.gateway import messages
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.hub_target import HubTarget
from mdstream.gateway.open_instrument import OpenInstrument, StreamStatus
from mdstream.gateway.openings import Openings
from mdstream.gateway.unknown_names import UnknownNames
from mdstream.model import InstrumentId, Ref, State

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic

log = logging.getLogger("mdstream.gateway.open_instruments")

_DATA_WAIT_S = 0.2
"""Usually enough time to bring a book up to date from the bus."""
_REACH_S = 2.0
"""How long a client that resumes ahead of this gateway waits until it is reached."""
_REACH_STEP_S = 0.05
_HINT_EVERY_S = 1.0
_WARN_EVERY_US = 10_000_000
_HINT_DEADLINE_S = 0.25
"""A hint must neither delay an answer nor burden the bus, however often unknown instruments are asked for."""
_LEAST_LINGER_US = 1_000_000
"""An instrument must not close between its opening and the subscription that asked for it."""


class _Unknown(CommandError):
    """Nobody has announced an instrument."""

    def __init__(self, id: InstrumentId) -> None:
        super().__init__(ErrorCode.UNKNOWN_INSTRUMENT, f"no publisher has announced {id}")
        self.id = id


class OpenInstruments:
    """Opens and closes instruments, and tells their subscribers the state."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        flush: Callable[[], object],
        *,
        now_us: Callable[[], int],
        wall_us: Callable[[], int],
    ) -> None:
        """``flush`` flushes the hub. ``now_us`` is monotonic, ``wall_us`` is for time stamps."""
        self._config = config
        self._hub = hub
        self._flush = flush
        self._now_us = now_us
        self._wall_us = wall_us
        self._readers: Readers | None = None
        self._next_hint_s = 0.0
        self._next_warning_us = 0
        self._open: dict[str, OpenInstrument] = {}
        self._openings: Openings[InstrumentId] = Openings(self._open_one)
        self._unknown = UnknownNames()
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._end_subscriptions: Callable[[Instrument, str], None] = lambda core, reason: None

    def use(self, readers: Readers) -> None:
        """Makes it possible to open instruments; ``close`` closes the readers."""
        self._readers = readers

    def end_subscriptions_by(self, end: Callable[[Instrument, str], None]) -> None:
        """``end`` ends every subscription to an instrument and tells the clients why."""
        self._end_subscriptions = end

    # ---- opening

    def find(self, name: str) -> OpenInstrument | None:
        """The open instrument of that name."""
        return self._open.get(name)

    def find_all(
        self, names: Sequence[str], channel: str, *, with_data: bool = False
    ) -> list[OpenInstrument] | None:
        """The instruments of these names if all are open, and have data where ``with_data`` asks for it; else None: call ``open``."""
        try:
            found = [self._open[name] for name in names]
        except KeyError:
            return None
        if with_data and not all(instrument.statuses[channel].has_data.is_set() for instrument in found):
            return None
        return found

    async def open(
        self, ids: Sequence[InstrumentId], channel: str, *, asker: Hashable = None, with_data: bool = False
    ) -> list[OpenInstrument]:
        """Opens what is not open yet, once for all that ask; raises CommandError ``unknown_instrument`` or ``unavailable``.

        Askers take turns. Cancel it when the ``asker`` has gone: what nobody else waits for is then not opened.
        ``with_data`` waits for data until the same deadline, because a resume needs it. Without it, the wait is as short as usual:
        just enough that most clients are not told ``recovering`` first.
        """
        deadline_s = asyncio.get_running_loop().time() + self._config.open_timeout_ms / 1000
        try:
            await self._open_all([id for id in ids if str(id) not in self._open], asker, deadline_s)
        except _Unknown as error:
            raise CommandError(error.code, f"{error}{await self._hint(error.id)}") from None
        found = self.find_all([str(id) for id in ids], channel)
        if found is None:
            raise _unavailable("an instrument was let go meanwhile; try again")
        if not with_data:
            deadline_s = min(deadline_s, asyncio.get_running_loop().time() + _DATA_WAIT_S)
        await _wait_for_data([instrument.statuses[channel] for instrument in found], deadline_s)
        return found

    async def _open_all(self, ids: Sequence[InstrumentId], asker: Hashable, deadline_s: float) -> None:
        """Returns when all are open; raises the first error of one."""
        for id in ids:
            self._refuse_unknown(id)
        if not ids:
            return
        with self._openings.asked(asker, ids) as done:
            await _wait([done], deadline_s)
            if not done.done():
                raise _unavailable("NATS did not answer in time; try again")
            if done.cancelled():
                raise _unavailable("this gateway stops")
            error = done.exception()
        if error is not None:
            try:
                raise error
            finally:
                del done, error  # the error knows this frame: together they would outlive the command

    def _refuse_unknown(self, id: InstrumentId) -> None:
        """Raises _Unknown for what the bus did not have a moment ago, unless it was announced since."""
        if self._readers is not None and self._readers.is_announced(id):
            self._unknown.discard(str(id))
        elif self._unknown.holds(str(id), self._now_us() / 1e6):
            raise _Unknown(id)

    async def _open_one(self, id: InstrumentId) -> OpenInstrument:
        if str(id) in self._closing:
            await asyncio.wait([self._closing[str(id)]])
        if self._readers is None or not self._readers.bus.connected:
            raise _unavailable("NATS is not connected; try again")
        instrument = OpenInstrument(
            id, self._now_us(), self._wall_us, self._status_changed, self._ref_changed, self._rescaled
        )
        try:
            instrument.reader = await self._readers.open(
                id, lambda ref: self._add(instrument, ref), instrument
            )
        except BaseException as error:
            if instrument.opened:
                self._hub.remove_instrument(instrument.core)
            if isinstance(error, UnknownInstrument):
                self._unknown.add(str(id), self._now_us() / 1e6)
                raise _Unknown(id) from None
            if isinstance(error, BusError | FeedError):
                self._log_trouble(id, error)
                raise _unavailable(f"{id} cannot be opened now: {error}") from None
            if isinstance(error, Exception):
                log.error("%s could not be opened", id, exc_info=error)
            raise
        self._open[instrument.name] = instrument
        if instrument.is_rescaled:
            self._rescaled(instrument)
            raise _unavailable(f"{id} was announced with another scale while it opened; try again")
        log.debug("%s opened", id)
        return instrument

    def _log_trouble(self, id: InstrumentId, error: Exception) -> None:
        """As a warning now and then: clients ask again, and for other names."""
        level = logging.DEBUG
        if self._now_us() >= self._next_warning_us:
            self._next_warning_us = self._now_us() + _WARN_EVERY_US
            level = logging.WARNING
        log.log(level, "%s cannot be opened now: %s", id, error)

    async def _hint(self, id: InstrumentId) -> str:
        """Instruments that are nearly this one; asked of the bus once a second at most, "" otherwise and where it does not answer."""
        now_s = asyncio.get_running_loop().time()
        if self._readers is None or now_s < self._next_hint_s:
            return ""
        self._next_hint_s = now_s + _HINT_EVERY_S
        return await near(self._readers.bus.jetstream, id, _HINT_DEADLINE_S)

    def _add(self, instrument: OpenInstrument, ref: Ref) -> HubTarget:
        instrument.begin(self._hub.add_instrument(instrument.name, ref.price_exp, ref.size_exp), ref)
        return HubTarget(self._hub, instrument.core)

    async def reach(self, found: Sequence[OpenInstrument], resume: Mapping[str, tuple[int, int]]) -> None:
        """Waits for the greater epochs that a client resumes at, until the bus has had time to bear them out."""
        deadline_s = asyncio.get_running_loop().time() + _REACH_S
        while self.is_behind(found, resume) and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(_REACH_STEP_S)

    def is_behind(self, found: Sequence[OpenInstrument], resume: Mapping[str, tuple[int, int]]) -> bool:
        """Whether a client resumes at a greater epoch than is read here; the bus is asked for what is ahead."""
        behind = False
        for instrument in found:
            epoch, seq = resume.get(instrument.name, (0, 0))
            if epoch and instrument.reader is not None:
                instrument.reader.look_for(epoch, seq)
                behind = behind or epoch > instrument.core.book.epoch
        return behind

    # ---- what subscribers are sent

    def show(self, sink: Sink, topic: Topic, status: StreamStatus) -> None:
        """Brings a new subscription up to date as soon as there is data to show."""
        if status.has_data.is_set():
            self._hub.catch_up(sink, topic)
        else:
            status.wait_for_data(sink, topic, self._is_subscribed)

    def _status_changed(self, instrument: OpenInstrument, status: StreamStatus) -> None:
        """Tells every subscriber the new state, after the data that it may have waited for."""
        self._hub.cork()
        try:
            self._flush()
            if status.state is not State.RECOVERING and not status.has_data.is_set():
                self._show_waiting(status)
            for topic in instrument.core.topics:
                if instrument.statuses[topic.channel] is status:
                    self._hub.broadcast(topic, *status.messages(topic.number))
        finally:
            self._hub.uncork()

    def _ref_changed(self, instrument: OpenInstrument) -> None:
        for topic in instrument.core.topics:
            message = messages.ref(topic.number, instrument.ref)
            self._hub.broadcast(topic, *messages.encode_both(message))

    def _show_waiting(self, status: StreamStatus) -> None:
        for sink, topic in status.data_arrived():
            if self._is_subscribed(sink, topic):
                self._hub.catch_up(sink, topic)

    def _is_subscribed(self, sink: Sink, topic: Topic) -> bool:
        return not sink.closed and self._hub.find(sink, topic.number) is not None

    def _rescaled(self, instrument: OpenInstrument) -> None:
        """Other decimals change the meaning of everything that clients hold, so they start again."""
        instrument.is_rescaled = True
        if self._open.get(instrument.name) is instrument:
            log.warning("%s was announced with other decimals; its subscriptions end", instrument.name)
            self._end_subscriptions(instrument.core, RESCALED)
            self._let_go(instrument)

    # ---- time

    def sweep(self) -> None:
        """Call about once a second: closes instruments that nobody has used for ``linger_ms``."""
        now_us = self._now_us()
        linger_us = max(self._config.linger_ms * 1000, _LEAST_LINGER_US)
        for instrument in list(self._open.values()):
            instrument.note_movement(now_us)
            if any(topic.subscribers for topic in instrument.core.topics):
                instrument.idle_since_us = None
            elif instrument.idle_since_us is None:
                instrument.idle_since_us = now_us
            elif now_us - instrument.idle_since_us >= linger_us:
                self._let_go(instrument)

    def _let_go(self, instrument: OpenInstrument) -> None:
        del self._open[instrument.name]
        task = asyncio.get_running_loop().create_task(self._close_one(instrument))
        self._closing[instrument.name] = task
        task.add_done_callback(lambda _: self._closing.pop(instrument.name, None))

    async def _close_one(self, instrument: OpenInstrument) -> None:
        if instrument.reader is not None:
            await instrument.reader.close()
        self._hub.remove_instrument(instrument.core)
        log.debug("%s let go", instrument.name)

    async def close(self) -> None:
        """Ends all readers; after it no instrument can be opened."""
        readers, self._readers = self._readers, None
        await self._openings.close()
        await asyncio.gather(*self._closing.values(), return_exceptions=True)
        self._open.clear()
        if readers is not None:
            await readers.close()

    # ---- figures

    @property
    def opening(self) -> int:
        """Commands that wait for instruments to open."""
        return len(self._openings)

    @property
    def stats(self) -> ReaderStats:
        """The counters of the readers since the start."""
        return self._readers.stats if self._readers is not None else ReaderStats()

    @property
    def health(self) -> Health | None:
        """How JetStream is; None before NATS was connected."""
        return self._readers.health if self._readers is not None else None

    def refused(self) -> list[Refusal]:
        """What readers refused latest, by instrument."""
        return self.stats.refusals.latest()

    def count_states(self) -> Counter[str]:
        """How many open instruments have their book in each state; every state has an entry."""
        counts: Counter[str] = Counter({state.value: 0 for state in State})
        counts.update(instrument.statuses["book"].state.value for instrument in self._open.values())
        return counts

    def data_ages(self, most: int) -> Iterable[tuple[str, float]]:
        """Seconds since anything arrived (to a second) for at most ``most`` instruments, by name."""
        now_us = self._now_us()
        named = sorted((instrument.name, instrument.moved_us) for instrument in self._open.values())
        return [(name, (now_us - moved_us) / 1e6) for name, moved_us in named[:most]]


async def _wait(futures: Sequence[asyncio.Future[Any]], deadline_s: float) -> None:
    """Waits until all are done or the loop's time is ``deadline_s``; cancels none."""
    if futures:
        await asyncio.wait(futures, timeout=max(deadline_s - asyncio.get_running_loop().time(), 0))


async def _wait_for_data(statuses: Iterable[StreamStatus], deadline_s: float) -> None:
    waits = [asyncio.ensure_future(s.has_data.wait()) for s in statuses if not s.has_data.is_set()]
    await _wait(waits, deadline_s)
    for wait in waits:
        wait.cancel()


def _unavailable(message: str) -> CommandError:
    return CommandError(ErrorCode.UNAVAILABLE, message)
