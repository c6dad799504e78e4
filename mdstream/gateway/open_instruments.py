"""The open instruments of this gateway: opened for the first client that asks, closed some time after the last one left."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from mdstream.bus import Health, Readers, ReaderStats, Refusal, UnknownInstrument
from mdstream.bus.spellings import near
from mdstream.codes import RESCALED, ErrorCode
from mdstream.errors import BusError, CommandError, FeedError
from mdstream.gateway import messages
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.hub_target import HubTarget
from mdstream.gateway.open_instrument import OpenInstrument, StreamStatus, wait_for_data
from mdstream.gateway.openings import Openings
from mdstream.gateway.reaching import Reaching
from mdstream.gateway.strain import Strain
from mdstream.gateway.turns import Wake, at_once
from mdstream.gateway.unknown_names import UnknownNames
from mdstream.gateway.wanted import Wanted
from mdstream.gateway.withheld import REACH_US, Withheld
from mdstream.model import Channel, InstrumentId, Ref, State, StateCode

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.sink import Sink
    from mdstream._core.fanout.topic import Topic

log = logging.getLogger("mdstream.gateway.open_instruments")

_DATA_WAIT_S = 0.2
"""Usually enough time to bring a book up to date from the bus."""
_HINT_EVERY_S = 1.0
_WARN_EVERY_US = 10_000_000
_HINT_DEADLINE_S = 0.25
"""A hint must neither delay an answer nor burden the bus, however often unknown instruments are asked for."""

Resume = Mapping[str, tuple[int, int]]
"""By instrument, the epoch and number that a client has seen."""
EndSubscriptions: TypeAlias = Callable[["Instrument", str], asyncio.Future[None]]
_NOTHING_SEEN: Resume = MappingProxyType({})


class _Unknown(CommandError):
    """Nobody has announced an instrument. All who asked for it are told; each is given hints of its own."""

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
        wake: Wake = at_once,
    ) -> None:
        """``flush`` flushes the hub. ``now_us`` is monotonic, ``wall_us`` for time stamps. ``wake`` is given what lets commands go on."""
        self._config = config
        self._hub = hub
        self._flush = flush
        self._now_us = now_us
        self._wall_us = wall_us
        self._readers: Readers | None = None
        self._next_hint_s = 0.0
        self._next_warning_us = 0
        self._open: dict[str, OpenInstrument] = {}
        self.wanted = Wanted()
        """They are not let go."""
        self._withheld = Withheld(hub, now_us=now_us, wall_us=wall_us)
        self._reaching = Reaching(wake=wake)
        self._changing: StreamStatus | None = None
        """The status whose subscribers are being told."""
        hub.on_arrival = self._arrived
        self._openings: Openings[str, Hashable] = Openings(self._open_one, self._open.__contains__, wake=wake)
        self._unknown = UnknownNames()
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._end_subscriptions: EndSubscriptions | None = None
        self.strain = Strain()
        self.lingers = True
        """Whether instruments that nobody uses stay open for a while."""

    def use(self, readers: Readers) -> None:
        """Makes it possible to open instruments; ``close`` closes the readers."""
        self._readers = readers

    @property
    def readers(self) -> Readers | None:
        """None before NATS was connected, and once closed."""
        return self._readers

    def end_subscriptions_by(self, end: EndSubscriptions) -> None:
        """``end`` ends every subscription to an instrument, tells the clients why, and returns what is done when it has."""
        self._end_subscriptions = end

    # ---- opening

    def find(self, name: str) -> OpenInstrument | None:
        """The open instrument of that name."""
        return self._open.get(name)

    def __iter__(self) -> Iterator[OpenInstrument]:
        return iter(list(self._open.values()))

    def find_all(
        self, names: Sequence[str], channel: str, resume: Resume = _NOTHING_SEEN
    ) -> list[OpenInstrument] | None:
        """The instruments of these names if all are open and can be shown to a client that has seen ``resume``; else None: call
        ``open``."""
        try:
            found = [self._open[name] for name in names]
        except KeyError:
            return None
        if not resume:
            return found
        has_data = all(instrument.statuses[channel].has_data.is_set() for instrument in found)
        return None if self._ahead_of(found, channel, resume) or not has_data else found

    async def open(
        self,
        names: Sequence[str],
        channel: str,
        resume: Resume = _NOTHING_SEEN,
        *,
        asker: Hashable = None,
        may_see: Callable[[str], bool] = lambda _: True,
    ) -> list[OpenInstrument]:
        """Opens what is not open yet, once for all that ask; raises CommandError ``unknown_instrument`` or ``unavailable``.

        Askers take turns. Cancel it when the ``asker`` has gone: what nobody else waits for is then not opened.
        The error for an unknown instrument names similar ones, of those that the asker ``may_see``.
        A ``resume`` needs data, so it is waited for; what this gateway has not reached too, for a while. Without one, the wait is as
        short as usual: just enough that most clients are not told ``recovering`` first. Use what it returns at once.
        """
        deadline_s = asyncio.get_running_loop().time() + self._config.open_timeout_ms / 1000
        held = self.wanted.hold(names)
        try:
            while True:
                await self._open_all([name for name in names if name not in self._open], asker, deadline_s)
                found = self.find_all(names, channel)
                if found is not None:
                    await self._wait_until_ready(found, channel, resume, asker, deadline_s)
                    if self.find_all(names, channel) == found:
                        return found
                if asyncio.get_running_loop().time() > deadline_s:
                    raise _unavailable("an instrument was let go meanwhile; try again")
        except _Unknown as error:
            hint = await self._hint(error.id, may_see)
            raise CommandError(error.code, f"{error}{hint}") from None
        finally:
            self.wanted.give_up(held)

    async def _wait_until_ready(
        self,
        found: Sequence[OpenInstrument],
        channel: str,
        resume: Resume,
        asker: Hashable,
        deadline_s: float,
    ) -> None:
        if resume:
            await self._reach(found, channel, resume, asker, deadline_s)
        else:
            deadline_s = min(deadline_s, asyncio.get_running_loop().time() + _DATA_WAIT_S)
        shown = [each for each in found if not self._must_withhold(each, channel, resume.get(each.name))]
        await wait_for_data([instrument.statuses[channel] for instrument in shown], deadline_s)

    async def _open_all(self, names: Sequence[str], asker: Hashable, deadline_s: float) -> None:
        """Returns when all are open; raises the first error of one."""
        self._refuse_unknown(names)
        if not names:
            return
        with self._openings.asked(asker, names) as done:
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

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        """Raises _Unknown for what the bus did not have a moment ago, unless it was announced since."""
        for name in self._unknown.among(names, self._now_us() / 1e6):
            id = InstrumentId.parse(name)
            if self._readers is None or not self._readers.is_announced(id):
                raise _Unknown(id)
            self._unknown.discard(name)

    async def _open_one(self, name: str, _: Hashable) -> OpenInstrument:
        if name in self._closing:
            await asyncio.wait([self._closing[name]])
        if self._readers is None or not self._readers.bus.connected:
            raise _unavailable("NATS is not connected; try again")
        id = InstrumentId.parse(name)
        instrument = OpenInstrument(
            id,
            self._now_us(),
            self._wall_us,
            self._status_changed,
            self._ref_changed,
            self._rescaled,
            self.strain,
        )
        try:
            instrument.reader = await self._readers.open(
                id, lambda ref: self._add(instrument, ref), instrument
            )
        except BaseException as error:
            if instrument.opened:
                self._hub.remove_instrument(instrument.core)
            if isinstance(error, UnknownInstrument):
                self._unknown.add(name, self._now_us() / 1e6)
                raise _Unknown(id) from None
            if isinstance(error, BusError | FeedError):
                self._log_trouble(id, error)
                raise _unavailable(f"{id} cannot be opened now: {error}") from None
            if isinstance(error, Exception):
                log.error("%s could not be opened", id, exc_info=error)
            raise
        self._open[name] = instrument
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

    async def _hint(self, id: InstrumentId, may_see: Callable[[str], bool]) -> str:
        """Instruments that are nearly this one; asked of the bus once a second at most, "" otherwise and where it does not answer."""
        now_s = asyncio.get_running_loop().time()
        if self._readers is None or now_s < self._next_hint_s:
            return ""
        self._next_hint_s = now_s + _HINT_EVERY_S
        return await near(self._readers.bus.jetstream, id, _HINT_DEADLINE_S, may_see)

    def _add(self, instrument: OpenInstrument, ref: Ref) -> HubTarget:
        instrument.begin(self._hub.add_instrument(instrument.name, ref.price_exp, ref.size_exp), ref)
        return HubTarget(self._hub, instrument.core)

    async def _reach(
        self,
        found: Sequence[OpenInstrument],
        channel: str,
        resume: Resume,
        asker: Hashable,
        deadline_s: float,
    ) -> None:
        """Waits for the greater epochs that a client resumes at, until the bus has had time to bear them out."""
        if wanted := self._ahead_of(found, channel, resume):
            deadline_s = min(deadline_s, asyncio.get_running_loop().time() + REACH_US / 1e6)
            await self._reaching.wait(wanted, asker, deadline_s)

    @staticmethod
    def _ahead_of(
        found: Sequence[OpenInstrument], channel: str, resume: Resume
    ) -> list[tuple[OpenInstrument, int]]:
        """What a client resumes at a greater epoch of than is read here, and that; the bus is asked for what is ahead."""
        ahead = []
        for instrument in found:
            epoch, seq = resume.get(instrument.name, (0, 0))
            is_behind = instrument.is_behind(epoch, seq if channel != Channel.TRADES else 0)
            if is_behind and epoch > instrument.core.book.epoch:
                ahead.append((instrument, epoch))
        return ahead

    @staticmethod
    def _must_withhold(instrument: OpenInstrument, channel: str, seen: tuple[int, int] | None) -> bool:
        """Whether what is read here is older than what the client has seen, by its epoch, and the bus bears that out, or nobody can say."""
        if seen is None or seen[0] <= instrument.position(channel)[0]:
            return False
        return instrument.bears_out(*seen)

    # ---- what subscribers are sent

    def begin(
        self,
        sink: Sink,
        topic: Topic,
        instrument: OpenInstrument,
        answer: bytes,
        seen: tuple[int, int] | None,
    ) -> None:
        """Answers a new subscription of a client that has ``seen`` a number; brings it up to date, or tells why not."""
        status = instrument.statuses[topic.channel]
        epoch, seq = instrument.position(topic.channel)
        is_ahead = seen is not None and seen[0] == epoch and seen[1] > seq
        if seen is not None and self._must_withhold(instrument, topic.channel, seen):
            self._hub.send(sink, answer)
            if self._is_subscribed(sink, topic):
                self._withheld.begin(sink, topic, instrument, seen)
        elif status.state is State.LIVE and not is_ahead:
            self._hub.catch_up(sink, topic, answer)
            if status.is_strained(topic):
                self._hub.send(sink, messages.encode(sink.format, status.message(topic, instrument.age_ms)))
        else:
            state = status.message(topic, instrument.age_ms)
            if is_ahead:
                state = status.apart(topic, instrument.age_ms, StateCode.GAP, self._wall_us())
            self._hub.send(sink, answer)
            self._hub.send(sink, messages.encode(sink.format, state))
            if self._is_subscribed(sink, topic):
                self._show(sink, topic, status)

    def is_shown(self, sink: Sink, topic: Topic) -> bool:
        """Whether a subscription gets the data of its topic; else it follows, or the instrument is let go."""
        instrument = self._open.get(topic.instrument.name)
        has_data = instrument is not None and instrument.statuses[topic.channel].has_data.is_set()
        return has_data and (sink, topic) not in self._withheld and not self._hub.is_owed(sink, topic)

    def show_withheld(self) -> None:
        """Call a few times a second: shows what was withheld from clients once it was reached."""
        self._withheld.look()

    def _show(self, sink: Sink, topic: Topic, status: StreamStatus) -> None:
        """Brings a new subscription up to date as soon as there is data to show."""
        if status.has_data.is_set():
            self._hub.catch_up(sink, topic)
        else:
            status.wait_for_data(sink, topic, self._is_subscribed)

    def _status_changed(self, instrument: OpenInstrument, status: StreamStatus, age_ms: int | None) -> None:
        """Tells every subscriber the new state, after the data that it may have waited for."""
        self._hub.cork()
        self._changing = status
        try:
            self._flush()
            is_recovering = status.state is State.RECOVERING
            if not is_recovering and not status.has_data.is_set():
                self._show_waiting(status)
            for topic in instrument.core.topics:
                if instrument.statuses[topic.channel] is status:
                    told = messages.encode_both(status.message(topic, age_ms))
                    self._hub.broadcast(topic, *told, to_apart=is_recovering)
            self._tell_waiting(status, age_ms)
        finally:
            self._changing = None
            self._hub.uncork()

    def _tell_waiting(self, status: StreamStatus, age_ms: int | None) -> None:
        """Tells those that wait for data, which the hub does not count among the subscribers yet."""
        for sink, topic in status.waiting:
            if self._is_subscribed(sink, topic):
                told = status.message(topic, age_ms)
                self._hub.send(sink, messages.encode(sink.format, told))

    def _arrived(self, sink: Sink, topic: Topic) -> None:
        """A client that was told ``recovering`` alone, because it was ahead, has what all have, and is told what all are told."""
        instrument = self._open.get(topic.instrument.name)
        if instrument is None or instrument.statuses[topic.channel] is self._changing:
            return
        told = instrument.statuses[topic.channel].message(topic, instrument.age_ms)
        self._hub.send(sink, messages.encode(sink.format, told))

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
            end = self._end_subscriptions
            self._let_go(instrument, None if end is None else end(instrument.core, RESCALED))

    # ---- time

    def sweep(self) -> None:
        """Call about once a second: closes instruments that nobody has used for ``linger_ms``."""
        now_us = self._now_us()
        linger_us = self._config.linger_ms * 1000 if self.lingers else 0
        for instrument in list(self._open.values()):
            instrument.note_movement(now_us)
            if instrument.name in self.wanted or any(topic.subscribers for topic in instrument.core.topics):
                instrument.idle_since_us = None
            elif instrument.idle_since_us is None:
                instrument.idle_since_us = now_us
            elif now_us - instrument.idle_since_us >= linger_us:
                self._let_go(instrument)

    def _let_go(self, instrument: OpenInstrument, ended: asyncio.Future[None] | None = None) -> None:
        """``ended``: when nobody is subscribed any more."""
        del self._open[instrument.name]
        task = asyncio.get_running_loop().create_task(self._close_one(instrument, ended))
        self._closing[instrument.name] = task
        task.add_done_callback(lambda _: self._closing.pop(instrument.name, None))

    async def _close_one(self, instrument: OpenInstrument, ended: asyncio.Future[None] | None) -> None:
        if instrument.reader is not None:
            await instrument.reader.close()
        if ended is not None:
            await ended
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

    def served(self) -> list[str]:
        """Names of the instruments that have subscribers, those with most first."""
        counts = Counter({n: sum(t.subscribers for t in each.core.topics) for n, each in self._open.items()})
        return [name for name, count in counts.most_common() if count]

    def data_ages(self, most: int) -> Sequence[tuple[str, float]]:
        """Seconds since anything arrived (to a second) for at most ``most`` instruments, by name."""
        now_us = self._now_us()
        named = sorted((instrument.name, instrument.moved_us) for instrument in self._open.values())
        return [(name, (now_us - moved_us) / 1e6) for name, moved_us in named[:most]]


async def _wait(futures: Sequence[asyncio.Future[Any]], deadline_s: float) -> None:
    """Waits until all are done or the loop's time is ``deadline_s``; cancels none."""
    if futures:
        await asyncio.wait(futures, timeout=max(deadline_s - asyncio.get_running_loop().time(), 0))


def _unavailable(message: str) -> CommandError:
    return CommandError(ErrorCode.UNAVAILABLE, message)
