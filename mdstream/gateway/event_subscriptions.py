"""Subscriptions to events: begun as soon as the topics are followed. What comes then goes through the topic, as for every channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mdstream.auth.topic_grants import Verb
from mdstream.bus.events import decode_event
from mdstream.bus.positions import position_key
from mdstream.codes import RESCALED, ErrorCode
from mdstream.errors import BusError, CommandError, PayloadError
from mdstream.gateway import costs, messages
from mdstream.gateway.clients import charge_work, client_of, tell
from mdstream.gateway.commands import Acknowledge, Recover, SubscribeEvents
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.costs import Work
from mdstream.gateway.desk import Desk
from mdstream.gateway.entitled import check_may
from mdstream.gateway.event_followers import Follower, Followers
from mdstream.gateway.event_log import LoggedEvent, encode
from mdstream.gateway.event_policies import DEVICE, NONE, Policy
from mdstream.gateway.event_topics import EventTopic, EventTopics
from mdstream.gateway.topic_budgets import TopicBudgets
from mdstream.gateway.turns import TASK_US, Steps, Turns
from mdstream.model import Channel
from mdstream.topics import named_topic

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session
    from mdstream.bus.positions import Position, Positions
    from mdstream.bus.stored_message import Numbered

LEVELS_PER_TOPIC: Final = 10
"""What it costs to subscribe to a topic, as many levels."""
LEVELS_TO_READ: Final = 1_000
"""What it costs to read from the stream."""
PAGE: Final = 256
PAGE_BYTES: Final = 262_144
"""What one ``recover`` is answered with, at most."""


class EventDesk(Desk, Protocol):
    def end_instrument(self, core: Instrument, reason: str) -> asyncio.Future[None]: ...


class _Opened(NamedTuple):
    """A topic of a command. ``position`` None: it is not acknowledged. ``resume``: the number that the client has."""

    topic: EventTopic
    acknowledge: str
    position: Position | None
    resume: int | None


class _Page(NamedTuple):
    """An answer to ``recover``; ``last``: the number up to which it reaches."""

    events: Sequence[LoggedEvent]
    last: int
    has_more: bool


class EventSubscriptions:
    """Answers ``subscribe`` to events, ``ack`` and ``recover``."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        topics: EventTopics,
        desk: EventDesk,
        turns: Turns,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._hub = hub
        self._topics = topics
        self._desk = desk
        self._turns = turns
        self.followers = Followers(hub, topics, topics.counts)
        self._begun = TopicBudgets(
            "new_positions",
            "too many topics, or devices, whose events were never acknowledged before",
            config.new_positions_burst,
            config.new_positions_per_hour / 3_600,
            now_s,
            "hour",
        )
        self._is_looking = False
        topics.restarted = self._restarted

    # ---- begin

    def subscribe(self, session: Session, command: SubscribeEvents) -> Steps:
        """Raises CommandError, or returns what is left to do: a task answers."""
        names = self._check(session, command)
        count = len(names)
        charge_work(session, Work(count * LEVELS_PER_TOPIC, count), command.echo_bytes)
        client_of(session).opening += count
        self._desk.tally(session)
        work = asyncio.get_running_loop().create_task(self._begin_once_open(session, command, names))
        self._desk.later(session, work)
        return iter((TASK_US,))

    def _check(self, session: Session, command: SubscribeEvents) -> list[str]:
        """The topics that are meant. Raises CommandError."""
        identity = client_of(session).identity
        names = []
        for text in command.topics:
            try:
                names.append(named_topic(text, identity.subject))
            except ValueError as error:
                raise CommandError(ErrorCode.BAD_VALUE, str(error)) from None
            check_may(identity, Verb.READ, Channel.EVENTS, names[-1])
        if len(set(names)) < len(names):
            raise CommandError(ErrorCode.BAD_VALUE, "topics names your own topic twice")
        for name in names:
            self._how(session, self._topics.policies.of(name), command)
        self._desk.check_more(session, len(names))
        return names

    def _how(self, session: Session, policy: Policy, command: SubscribeEvents) -> str:
        """How this client acknowledges. Where nobody has to say who he is, a device stands for a user."""
        if policy.acknowledge == NONE:
            return NONE
        if not client_of(session).identity.subject:
            return DEVICE if command.device else NONE
        if policy.acknowledge == DEVICE and not command.device:
            raise CommandError(
                ErrorCode.BAD_VALUE,
                "each device acknowledges this topic by itself; device must say which it is",
            )
        return policy.acknowledge

    async def _begin_once_open(
        self, session: Session, command: SubscribeEvents, names: Sequence[str]
    ) -> None:
        with ExitStack() as held:
            await self._open_and_begin(session, command, names, held)

    async def _open_and_begin(
        self, session: Session, command: SubscribeEvents, names: Sequence[str], held: ExitStack
    ) -> None:
        """``held``: topics that are open wait there for the others."""
        opened: list[_Opened] = []
        try:
            async with asyncio.timeout(self._config.open_timeout_ms / 1000):
                for text, name in zip(command.topics, names, strict=True):
                    topic = self._topics.find(name) or await self._topics.open(
                        name, self._desk.counted(session)
                    )
                    held.enter_context(topic.held())
                    opened.append(await self._open(session, command, text, topic))
        except TimeoutError:
            self._give_up(
                session, command, opened, CommandError(ErrorCode.UNAVAILABLE, "NATS is slow; try again")
            )
            return
        except BusError as error:
            self._give_up(
                session, command, opened, CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again")
            )
            return
        except CommandError as error:
            self._give_up(session, command, opened, error)
            return
        except asyncio.CancelledError:
            self._release(opened)
            raise
        finally:
            client_of(session).opening -= len(names)
            self._desk.tally(session)
        self._begin_all(session, command, opened)

    def _give_up(
        self, session: Session, command: SubscribeEvents, opened: Sequence[_Opened], error: CommandError
    ) -> None:
        self._release(opened)
        if session.open:
            self._desk.refuse(session, command.id, error)

    def _release(self, opened: Sequence[_Opened]) -> None:
        for each in opened:
            if each.position is not None and self._topics.positions is not None:
                self._topics.positions.release(each.position)

    async def _open(
        self, session: Session, command: SubscribeEvents, text: str, topic: EventTopic
    ) -> _Opened:
        """Raises BusError, CommandError."""
        policy = self._topics.policies.of(topic.name)
        how = self._how(session, policy, command)
        named = command.resume.get(text)
        if how == NONE:
            return _Opened(topic, how, None, await self._catch_up(topic, named))
        position = await self._position(session, command, topic, how)
        try:
            resume = await self._catch_up(topic, named, position.value or 0)
            if position.value is None and not policy.from_all:
                self._charge_new(session, position)
                await self._positions.begin_at(position, topic.seq)
        except BaseException:
            self._positions.release(position)
            raise
        return _Opened(topic, how, position, resume)

    def _charge_new(self, session: Session, position: Position) -> None:
        """Call before a position gets a value: each new one takes a place in the bucket, which all users share. Raises CommandError."""
        if position.value is None and not position.revision:
            client = client_of(session)
            place = client.visitor.place
            who: Hashable = client.identity.subject or (client.id if place is None else place.key)
            self._begun.charge(who, "")

    async def _position(
        self, session: Session, command: SubscribeEvents, topic: EventTopic, how: str
    ) -> Position:
        device = command.device if how == DEVICE else None
        key = position_key(client_of(session).identity.subject, topic.name, device)
        return await self._positions.open(key, self.followers.moved)

    @property
    def _positions(self) -> Positions:
        positions = self._topics.positions
        assert positions is not None
        return positions

    async def _catch_up(
        self, topic: EventTopic, named: tuple[int, int] | None, position: int = 0
    ) -> int | None:
        """The number after which this client goes on; None if it names none of this stream.

        Other gateways may be further, and may have sent this client more than there is here: then the topic catches up first, so that
        nothing comes twice as if it were new. Raises BusError.
        """
        resume = None if named is None or named[0] != topic.topic.epoch else named[1]
        if resume is None or max(resume, position) > topic.seq:
            await self._topics.come_to_newest(topic)
        if resume is None or topic.reader is None or resume > topic.reader.seq:
            return None
        return min(resume, topic.seq)

    def _begin_all(self, session: Session, command: SubscribeEvents, opened: Sequence[_Opened]) -> None:
        if not session.open:
            self._release(opened)
            return
        try:
            self._check(session, command)  # what is allowed may have changed
        except CommandError as error:
            self._give_up(session, command, opened, error)
            return
        if not all(each.topic.is_open for each in opened):
            again = CommandError(ErrorCode.UNAVAILABLE, "the topic is being opened again; try again")
            self._give_up(session, command, opened, again)
            return
        self._hub.cork()
        try:
            for each in opened:
                if session.open:
                    self._begin(session, command, each)
                else:
                    self._release([each])
        finally:
            self._hub.uncork()
        self._desk.tally(session)

    def _begin(self, session: Session, command: SubscribeEvents, opened: _Opened) -> None:
        sink, topic = session.sink, opened.topic.topic
        is_there = self._hub.find(sink, topic.number) is not None
        if is_there:
            self._release([opened])
            tell(session, self._subscribed(command, opened, resumed=True))
        elif opened.position is None:
            self._begin_plain(session, command, opened)
        else:
            resumed = opened.resume is not None
            self._hub.subscribe(sink, topic, (topic.epoch, topic.seq))
            start = min(max(opened.position.value or 0, opened.resume or 0), topic.seq)
            tell(session, self._subscribed(command, opened, resumed=resumed))
            self._desk.begun(session, topic)
            self.followers.begin(Follower(session, opened.topic, opened.position, start, resumed=resumed))

    def _begin_plain(self, session: Session, command: SubscribeEvents, opened: _Opened) -> None:
        """Without acknowledgement: what came since the number that the client has, where it is kept here."""
        sink, topic, resume = session.sink, opened.topic.topic, opened.resume
        resumed = resume is not None and opened.topic.log.reaches(resume)
        since = min(resume, topic.seq) if resumed and resume is not None else topic.seq
        self._hub.subscribe(sink, topic, (topic.epoch, since))
        told = self._subscribed(command, opened, resumed=resumed)
        self._hub.catch_up(sink, topic, messages.encode(session.format, told))
        self._desk.begun(session, topic)

    def _subscribed(self, command: SubscribeEvents, opened: _Opened, *, resumed: bool) -> messages.Message:
        position = None if opened.position is None else opened.position.value
        return messages.subscribed_events(
            command.id,
            opened.topic.topic.number,
            opened.topic.name,
            opened.topic.topic.epoch,
            opened.acknowledge,
            position,
            opened.topic.seq,
            resumed=resumed,
        )

    # ---- ack and recover

    def acknowledge(self, session: Session, command: Acknowledge) -> None:
        """Raises CommandError."""
        follower = self.followers.find(session, command.sub)
        if follower is None:
            if self._hub.find(session.sink, command.sub) is None:
                raise CommandError(
                    ErrorCode.UNKNOWN_SUB, f"there is no subscription {command.sub} in this session"
                )
            raise CommandError(
                ErrorCode.BAD_VALUE, f"what comes on subscription {command.sub} is not acknowledged"
            )
        newest = self.followers.greatest(follower)
        if command.seq > newest:
            raise CommandError(
                ErrorCode.BAD_VALUE, f"seq is {command.seq}; the newest that was sent is {newest}"
            )
        self._charge_new(session, follower.position)
        self.followers.acknowledge(follower, command.seq)

    def recover(self, session: Session, topic: Topic, command: Recover) -> None:
        """Sends what is kept from a number on, a page of it. Raises CommandError."""
        check_may(client_of(session).identity, Verb.READ, Channel.EVENTS, topic.instrument.name)
        if self.followers.find(session, topic.number) is not None:
            raise CommandError(
                ErrorCode.BAD_VALUE,
                "what is not acknowledged is sent again by itself; acknowledge what you have",
            )
        found = self._topics.find(topic.instrument.name)
        if found is None or found.topic is not topic:
            raise CommandError(ErrorCode.UNAVAILABLE, "the topic is being opened again; try again")
        cost = costs.weighed(PAGE_BYTES, session.sink.compresses)
        client_of(session).charge_answer(LEVELS_TO_READ, cost)
        after = max(command.from_seq - 1, 0)
        if found.log.reaches(after):
            self._answer(session, found, command, _Page(found.log.after(after), found.seq, False))
            return
        work = asyncio.get_running_loop().create_task(self._recover_stored(session, found, command, after))
        self._desk.later(session, work)

    async def _recover_stored(
        self, session: Session, topic: EventTopic, command: Recover, after: int
    ) -> None:
        try:
            batch = await self._topics.stream.read_to(
                topic.name, after, topic.seq, most=PAGE + 1, most_bytes=PAGE_BYTES
            )
        except BusError as error:
            if session.open:
                refused = CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again")
                self._desk.refuse(session, command.id, refused)
            return
        if not session.open or self._hub.find(session.sink, command.sub) is None:
            return
        known = [
            message for message in batch.messages if message.seq <= topic.seq
        ]  # what is newer comes live
        has_more = batch.has_more and len(known) == len(batch.messages)
        first = known[0].seq if known else topic.seq + 1
        if 0 < after < first - 1:
            tell(session, messages.lost(command.sub, after + 1, first - 1))
        last = known[-1].seq if known else after
        self._answer(session, topic, command, _Page(_logged(known, after), last, has_more))

    def _answer(self, session: Session, topic: EventTopic, command: Recover, page: _Page) -> None:
        """Sends a page, as far as one answer goes."""
        last, has_more, size = page.last, page.has_more, 0
        for number, logged in enumerate(page.events):
            if number == PAGE or size >= PAGE_BYTES:
                has_more = True
                break
            message = encode(session.format, command.sub, topic.name, logged, redelivered=True)
            session.send_control(message)
            size += len(message)
            last = logged.seq
        else:
            last = max(page.last, command.from_seq - 1)
        tell(session, messages.recovered(command.id, command.sub, command.from_seq, last, more=has_more))

    # ---- end

    def ended(self, session: Session, subs: Iterable[int] | None) -> None:
        """These subscriptions of a session have ended, or all."""
        self.followers.end(session, subs)

    def end_forbidden(self, session: Session) -> None:
        """Call when a client's entitlements have changed: ends what they no longer allow, and tells the client."""
        identity = client_of(session).identity
        ended = [
            topic
            for topic in session.sink.topics()
            if topic.channel == Channel.EVENTS
            and not identity.entitlements.may(
                Verb.READ, Channel.EVENTS, topic.instrument.name, identity.subject
            )
        ]
        self._desk.end(session, ended, ErrorCode.NOT_ENTITLED.value)

    def _restarted(self, topic: EventTopic) -> None:
        """The stream has begun anew, with smaller numbers: clients subscribe again."""
        self._desk.end_instrument(topic.topic.instrument, RESCALED)

    # ---- time

    def tick(self) -> None:
        """Call a few times a second."""
        if self._topics.publisher is not None:
            self._topics.publisher.tick()
        if len(self.followers) and not self._is_looking:
            self._is_looking = True
            self._turns.run_own(self._look())

    def _look(self) -> Steps:
        try:
            yield from self.followers.steps()
        finally:
            self._is_looking = False


def _logged(stored: Sequence[Numbered], after: int) -> list[LoggedEvent]:
    """What can be read of stored messages beyond a number."""
    found, prev = [], after if stored and stored[0].seq == after else 0
    for message in stored:
        if message.seq <= after:
            continue
        try:
            found.append(LoggedEvent(message, prev, decode_event(message.payload)))
        except PayloadError:
            continue
        prev = message.seq
    return found
