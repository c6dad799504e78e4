"""The subscriptions of all sessions: begun as soon as their instruments are open, counted, and ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import UNSET
from msgspec.structs import replace

from mdstream.codes import CloseCode, ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import costs, messages
from mdstream.gateway.activity import Activity
from mdstream.gateway.alive import new_instance
from mdstream.gateway.budget import Cost
from mdstream.gateway.candle_subscriptions import CandleSubscriptions
from mdstream.gateway.candle_topics import CandleTopics
from mdstream.gateway.clients import client_of, tell
from mdstream.gateway.commands import (
    CommandId,
    Subscribe,
    SubscribeCandles,
    SubscribeEvents,
    SubscribeMany,
    Unsubscribe,
)
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.entitled import check_subscribe
from mdstream.gateway.event_subscriptions import EventSubscriptions
from mdstream.gateway.event_topics import EventTopics
from mdstream.gateway.fair_places import Asker
from mdstream.gateway.group_digits import with_groups
from mdstream.gateway.grouped_views import GroupedViews
from mdstream.gateway.limits import Limits
from mdstream.gateway.map_commands import SubscribeMap, SubscribePresence
from mdstream.gateway.map_subscriptions import MapSubscriptions
from mdstream.gateway.overviews import Overviews
from mdstream.gateway.subscription_room import SubscriptionRoom
from mdstream.gateway.turns import TASK_US, Steps, Turns, error_of
from mdstream.gateway.usage import Part, Usage, part_of
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.entry.load_state import LoadState
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session
    from mdstream.auth.entitlements import Entitlements
    from mdstream.gateway.open_instrument import OpenInstrument
    from mdstream.gateway.open_instruments import OpenInstruments

log = logging.getLogger("mdstream.gateway.subscriptions")

_NAMES_OF_A_STEP = 50
"""Of a command with more, so many are looked at in a step."""
_NAMES_PER_US = 4
"""So many more names a task of a command takes a µs longer."""


class Desk(Protocol):
    """What is used of ``Sessions``."""

    turns: Turns

    def __iter__(self) -> Iterator[Session]: ...
    def refuse(self, session: Session, id: CommandId, error: CommandError) -> None: ...
    def limit_reached(self, session: Session, limit: str) -> None: ...


class Subscriptions:
    """Answers ``subscribe`` and ``unsubscribe``."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        instruments: OpenInstruments,
        desk: Desk,
        *,
        limits: Limits,
        load: LoadState,
        usage: Usage | None,
        activity: Activity | None,
        asker_of: Callable[[Session], Hashable] | None,
        wall_us: Callable[[], int],
    ) -> None:
        """``asker_of`` as for ``Sessions``."""
        self._config = config
        self._hub = hub
        self._instruments = instruments
        self._desk = desk
        self._limits = limits
        self.usage = usage
        self.activity = activity
        self._asker_of = asker_of or _asker
        self._grouped = GroupedViews(config)
        self._room = SubscriptionRoom(config.max_subscriptions, limits, self._grouped, desk.limit_reached)
        self._load = load
        self._tasks: set[asyncio.Task[None]] = set()
        self.overviews = Overviews(config, hub, instruments, self, desk.turns, wall_us)
        self.candle_topics = CandleTopics(hub, wall_us=wall_us, delay_ms=config.delay_ms)
        self.candles = CandleSubscriptions(config, hub, self.candle_topics, self)
        self.maps = MapSubscriptions(
            config,
            hub,
            self,
            desk.turns,
            instance=new_instance(config.node) if activity is None else activity.gateway,
            activity=activity,
            wall_us=wall_us,
            now_s=time.monotonic,
        )
        self.event_topics = EventTopics(config, hub, wall_us=wall_us, wake=desk.turns.wakes.add)
        self.events = EventSubscriptions(config, hub, self.event_topics, self, desk.turns)
        instruments.end_subscriptions_by(self.end_instrument)

    # ---- begin

    def subscribe_many(self, session: Session, command: SubscribeMany) -> Steps | None:
        """To a list or a board."""
        self.check_load()
        return self.overviews.subscribe(session, command)

    def subscribe_candles(self, session: Session, command: SubscribeCandles) -> None:
        self.check_load()
        self.candles.subscribe(session, command)

    def subscribe_map(self, session: Session, command: SubscribeMap | SubscribePresence) -> Steps:
        """To maps, or to who is present."""
        self.check_load()
        return self.maps.subscribe(session, command)

    def subscribe_events(self, session: Session, command: SubscribeEvents) -> Steps:
        self.check_load()
        return self.events.subscribe(session, command)

    def subscribe(self, session: Session, command: Subscribe) -> Steps:
        """Raises CommandError, or returns the steps of the answer; those of a command with many names may raise it, too."""
        if len(command.instruments) > _NAMES_OF_A_STEP:
            return self._subscribe_in_steps(session, command)
        self.check_entitled(session, command)
        return self._commit_or_open(session, command)

    def _subscribe_in_steps(self, session: Session, command: Subscribe) -> Steps:
        client, names = client_of(session), command.instruments
        entitlements = client.identity.entitlements
        for at in range(0, len(names), _NAMES_OF_A_STEP):
            some = names[at : at + _NAMES_OF_A_STEP]
            check_subscribe(entitlements, command, self._config.delay_ms, some)
            yield
        if client.identity.entitlements is not entitlements:
            self.check_entitled(session, command)
        yield from self._commit_or_open(session, command)

    def _commit_or_open(self, session: Session, command: Subscribe) -> Steps:
        """Raises CommandError, or returns steps that refuse nothing any more."""
        self.check_load()
        found = self._instruments.find_all(command.instruments, command.channel, command.resume)
        if found is not None:
            return self._commit(session, command, found)
        self._room.check(session, command)
        command.check_names()
        client_of(session).budgets.charge(Cost.LEVELS, costs.WAIT_LEVELS * len(command.resume))
        return self._open_later(session, command)

    def check_load(self) -> None:
        """Raises CommandError ``unavailable`` while the gateway cannot keep up."""
        if (why := self._load.refuses) is not None:
            raise CommandError(ErrorCode.UNAVAILABLE, f"{why}; try again later, or another gateway")

    def check_entitled(self, session: Session, command: Subscribe) -> None:
        """Raises CommandError ``not_entitled``."""
        check_subscribe(client_of(session).identity.entitlements, command, self._config.delay_ms)

    def _open_later(self, session: Session, command: Subscribe) -> Steps:
        """In a task. Call it when the command has just been found to be allowed."""
        client = client_of(session)
        client.opening += len(command.instruments)
        self.tally(session)
        work = self._open_and_commit(session, command, client.identity.entitlements)
        self.later(session, asyncio.get_running_loop().create_task(work))
        return iter((TASK_US + len(command.instruments) // _NAMES_PER_US,))

    def later(self, session: Session, task: asyncio.Task[None]) -> None:
        """A ``subscribe`` that waits; it ends with its session."""
        self._tasks.add(task)
        client_of(session).add_task(task)
        task.add_done_callback(lambda done: self._opened_for(session, done))

    def _opened_for(self, session: Session, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = error_of(task)
        if error is not None:
            log.error("a subscribe failed", exc_info=error)
            session.close(CloseCode.INTERNAL_ERROR, "internal error")

    async def _open_and_commit(self, session: Session, command: Subscribe, allowed_by: Entitlements) -> None:
        """``allowed_by``: those that allowed it when it came."""
        try:
            found = await self._instruments.open(
                command.instruments,
                command.channel,
                command.resume,
                asker=self._asker_of(session),
                may_see=allowed_by.may_see,
            )
        except CommandError as error:
            if session.open:
                self._desk.refuse(session, command.id, error)
            return
        finally:
            client_of(session).opening -= len(command.instruments)
            self.tally(session)
        if session.open:
            self._commit_later(session, command, found, allowed_by)

    def _commit_later(
        self, session: Session, command: Subscribe, found: list[OpenInstrument], allowed_by: Entitlements
    ) -> None:
        self._hub.cork()
        try:
            if client_of(session).identity.entitlements is not allowed_by:
                self.check_entitled(session, command)
            self._desk.turns.run(session, self._commit(session, command, found))
        except CommandError as error:
            self._desk.refuse(session, command.id, error)
        finally:
            self._hub.uncork()

    def _commit(self, session: Session, command: Subscribe, found: Sequence[OpenInstrument]) -> Steps:
        """The steps that subscribe to each; or raises CommandError, and subscribes to none."""
        self._room.check(session, command)
        commands = with_groups(command, found)
        self._room.check_groups(commands, found)
        client = client_of(session)
        client.charge_answer(*_cost_of(commands, found, session))
        client.opening += len(found)
        self.tally(session)
        return self._subscribe_each(session, command, commands, found)

    def _subscribe_each(
        self,
        session: Session,
        command: Subscribe,
        commands: Sequence[Subscribe],
        found: Sequence[OpenInstrument],
    ) -> Steps:
        """``commands``: as it is for each instrument."""
        client = client_of(session)
        identity = client.identity
        for number, instrument in enumerate(found):
            if not session.open:
                return
            if client.identity is not identity and self._is_forbidden(session, command, len(found) - number):
                return
            if self._instruments.find(instrument.name) is not instrument:
                # It was let go, or announced with another scale, since the first step: it and the rest are opened again.
                client.opening -= len(found) - number
                rest = replace(command, instruments=command.instruments[number:])
                yield from self._open_later(session, rest)
                return
            client.opening -= 1
            self._subscribe_one(session, commands[number], instrument)
            yield
        self.tally(session)

    def _is_forbidden(self, session: Session, command: Subscribe, left: int) -> bool:
        """Whether a new token no longer allows a command of which some steps are left; the client is told."""
        try:
            self.check_entitled(session, command)
        except CommandError as error:
            client_of(session).opening -= left
            self.tally(session)
            self._desk.refuse(session, command.id, error)
            return True
        return False

    def _subscribe_one(self, session: Session, command: Subscribe, instrument: OpenInstrument) -> None:
        resume = command.resume.get(instrument.name)
        topic, resumed = self._hub.join(session.sink, instrument.core, command.view, resume)
        if command.group != 1:
            self._grouped.joined(topic)
        self.begin(session, command.id, instrument, topic, resumed, resume)

    def begin(
        self,
        session: Session,
        id: CommandId,
        instrument: OpenInstrument,
        topic: Topic,
        resumed: bool | None,
        resume: tuple[int, int] | None,
    ) -> bytes:
        """Answers who has joined a topic, with what it returns, and data. ``resumed`` None: it was subscribed already, and its data
        continues where it is."""
        answer = instrument.subscribed.encode(
            session.format,
            id,
            topic,
            instrument.ref,
            resumed=resumed is not False,
            delay_ms=self._config.delay_ms,
        )
        if resumed is not None and self.usage is not None:
            self.count_begin(session, topic)
        if resumed is not None and self.activity is not None:
            self.begun(session, topic)
        if resumed is None:
            session.send_control(answer)
        else:
            self._instruments.begin(session.sink, topic, instrument, answer, resume)
        return answer

    async def cancel_openings(self) -> None:
        """Cancels every ``subscribe`` that still waits for an instrument to open."""
        self.overviews.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- what lists and boards need

    def refuse(self, session: Session, id: CommandId, error: CommandError) -> None:
        self._desk.refuse(session, id, error)

    def sessions(self) -> Iterator[Session]:
        return iter(self._desk)

    def asker(self, session: Session) -> Hashable:
        return self._asker_of(session)

    def check_more(self, session: Session, new: int) -> None:
        """Raises CommandError ``limit_subscriptions`` if the client may not have so many more."""
        self._room.check_more(session, new)

    def counted(self, session: Session) -> Asker:
        """For whom is opened, and counted, what a session asks for."""
        return Asker(self._asker_of(session), not client_of(session).visitor.is_exempt)

    def check_one_more(self, session: Session) -> None:
        """Raises CommandError ``limit_subscriptions`` if the client may have no other subscription."""
        self._room.check_more(session, 1)

    # ---- end

    def unsubscribe(self, session: Session, command: Unsubscribe) -> Steps:
        topics = {topic.number: topic for topic in session.sink.topics()}
        for sub in command.subs:
            if sub not in topics:
                raise unknown_sub(sub)
        return self._unsubscribe_each(session, command, [topics[sub] for sub in command.subs])

    def _unsubscribe_each(self, session: Session, command: Unsubscribe, topics: list[Topic]) -> Steps:
        for topic in topics:
            self._hub.unsubscribe(session.sink, topic)
            self.count_ends(session, (topic.number,))
            self.maps.ended(session, (topic.number,))
            yield
        self.tally(session)
        tell(session, messages.unsubscribed(command.id, command.subs, "requested"))

    def end_instrument(self, core: Instrument, reason: str) -> asyncio.Future[None]:
        """Ends every subscription to an instrument and tells each client why; in slices, as there may be many clients."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._desk.turns.run_own(self._end_each(core, reason, ended))
        return ended

    def _end_each(self, core: Instrument, reason: str, ended: asyncio.Future[None]) -> Steps:
        try:
            for session in self._desk:
                topics = [topic for topic in core.topics if self._hub.find(session.sink, topic.number)]
                self.end(session, topics, reason)
                if not core.topics:
                    return
                yield
        finally:
            if not ended.done():
                ended.set_result(None)

    def end(self, session: Session, topics: Sequence[Topic], reason: str) -> None:
        """Ends subscriptions of a client, and tells it."""
        for topic in topics:
            self._hub.unsubscribe(session.sink, topic)
        if topics:
            self.tally(session)
            self.count_ends(session, [topic.number for topic in topics])
            self.maps.ended(session, [topic.number for topic in topics])
            tell(session, messages.unsubscribed(UNSET, [topic.number for topic in topics], reason))

    # ---- count

    @property
    def grouped_bytes(self) -> int:
        """Memory of all grouped views."""
        return self._grouped.bytes

    def sweep(self) -> None:
        """Call about once a second."""
        self._grouped.measure()
        self.overviews.sweep()
        self.candle_topics.sweep()
        self.maps.sweep()
        self.event_topics.sweep()

    def tally(self, session: Session) -> None:
        """Tells the limits of address and user how many subscriptions the client has, those included that are not made yet."""
        client = client_of(session)
        self._limits.subscribed(client.visitor, session.sink.subscriptions + client.opening)

    def begun(self, session: Session, topic: Topic) -> None:
        """Call when any subscription has begun."""
        if self.activity is not None and session.open:
            client = client_of(session)
            name = topic.instrument.name
            self.activity.subscribed(client.id, client.identity.subject, topic.number, topic.channel, name)

    def count_begin(self, session: Session, topic: Topic) -> None:
        """A subscription has begun whose use counts, if it is counted at all."""
        if self.usage is None:
            return
        subject = client_of(session).identity.subject
        self._count_parts(
            session,
            topic,
            [part_of(subject, topic.instrument.name, topic.channel, topic.depth, self._config.delay_ms)],
        )

    def count_rows(self, session: Session, topic: Topic, names: Iterable[str]) -> None:
        """A board shows the best level of each of these; instruments that it has only later are not counted."""
        if self.usage is not None:
            subject, delay_ms = client_of(session).identity.subject, self._config.delay_ms
            parts = [part_of(subject, name, Channel.TICKER, 0, delay_ms) for name in names]
            self._count_parts(session, topic, parts)

    def _count_parts(self, session: Session, topic: Topic, parts: Sequence[Part]) -> None:
        client = client_of(session)
        if client.parts is None:
            client.parts = {}
        client.parts[topic.number] = parts
        if self.usage is not None:
            for part in parts:
                self.usage.begin(part)

    def count_ends(self, session: Session, subs: Iterable[int] | None = None) -> None:
        """Of these subscriptions, or of all."""
        self.events.ended(session, subs)
        if self.activity is not None:
            self.activity.ended(client_of(session).id, subs)
        parts = client_of(session).parts
        if self.usage is not None and parts is not None:
            for sub in list(parts) if subs is None else subs:
                for part in parts.pop(sub, ()):  # it may have ended between two steps
                    self.usage.end(part)


def _asker(session: Session) -> Hashable:
    visitor = client_of(session).visitor
    return visitor.user or visitor.place or session


def _cost_of(
    commands: Sequence[Subscribe], found: Sequence[OpenInstrument], session: Session
) -> tuple[int, int]:
    """Levels that are read, and bytes of the answers."""
    levels = size = 0
    format, compressed = session.format, session.sink.compresses
    for command, instrument in zip(commands, found, strict=True):
        resume = command.resume.get(instrument.name) if command.resume else None
        since = resume[1] if resume and resume[0] == instrument.core.book.epoch else None
        work = costs.of_answer(instrument.core, command.channel, command.depth, command.group, since)
        levels += work.read
        size += work.answer_bytes(format, compressed, command.echo_bytes)
    return levels, size


def unknown_sub(sub: int) -> CommandError:
    return CommandError(ErrorCode.UNKNOWN_SUB, f"there is no subscription {sub} in this session")
