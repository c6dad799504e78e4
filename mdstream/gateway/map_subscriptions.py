"""Subscriptions to maps and to presence: done as soon as the map is read. What follows goes through the topic, as for every channel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import replace

from mdstream.auth.topic_grants import Verb
from mdstream.codes import RESCALED, ErrorCode
from mdstream.errors import BusError, CommandError
from mdstream.gateway import entitled, messages
from mdstream.gateway.activity import Activity
from mdstream.gateway.alert_rights import AlertRights
from mdstream.gateway.alive import Alive
from mdstream.gateway.clients import charge_work, client_of, tell
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.costs import Work
from mdstream.gateway.desk import Desk
from mdstream.gateway.fair_places import GATEWAY, Asker
from mdstream.gateway.map_commands import (
    SubscribeMap,
    SubscribePresence,
    check_map,
    check_presence,
    topics_of,
    usual_ms,
)
from mdstream.gateway.map_puts import MapPuts
from mdstream.gateway.map_topics import MapTopics
from mdstream.gateway.open_map import OpenMap, View, ViewKey
from mdstream.gateway.presence import Presence
from mdstream.gateway.turns import TASK_US, Steps, Turns
from mdstream.maps import presence_value
from mdstream.model import Channel, State, StateCode

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session
    from mdstream.auth.identity import Identity
    from mdstream.bus import Bus

OF_MAPS: Final = (Channel.MAP, Channel.PRESENCE)
LEVELS_TO_READ: Final = 2_000
"""What it costs to read a map that nobody else looks at, as so many levels."""
LEVELS_PER_ROW: Final = 4
AHEAD_S: Final = 2.0
"""How long a client waits that has a greater number than this gateway."""


class MapDesk(Desk, Protocol):
    def sessions(self) -> Iterator[Session]: ...


class MapSubscriptions:
    """Answers ``subscribe`` to maps and presence, and ``recover``; ``puts`` answers ``put``."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        desk: MapDesk,
        turns: Turns,
        *,
        instance: str,
        activity: Activity | None,
        wall_us: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        """``instance``: the name of this process in presence."""
        self._config = config
        self._hub = hub
        self._desk = desk
        self._turns = turns
        self._wall_us = wall_us
        self.alive = Alive(instance, now_s)
        self.presence = Presence(instance, activity)
        self.topics = MapTopics(
            config,
            hub,
            wall_us=wall_us,
            now_s=now_s,
            replaced=self._replaced,
            told=self._tell,
            is_silent=self.alive.is_silent,
            lost=self.presence.lost if activity is not None else None,
            wake=turns.wakes.add,
        )
        self.puts = MapPuts(config, desk, self._find, now_s)
        self.alert_rights = AlertRights(partial(self._find_for, GATEWAY))
        self._joined: dict[Session, dict[int, str]] = {}
        """The topics at which a session is present, by the number of its subscription."""

    def use(self, bus: Bus) -> None:
        """Makes it possible to read."""
        self.alive.use(bus)
        self.topics.use(bus)

    # ---- subscribe

    def subscribe(self, session: Session, command: SubscribeMap | SubscribePresence) -> Steps:
        """Raises CommandError, or returns the steps of the answer, or of what a task will answer once the maps are read."""
        if isinstance(command, SubscribePresence) and not command.interval_ms:
            command = replace(command, interval_ms=usual_ms(self._config))
        wanted, identity = self._check(session, command), client_of(session).identity
        found = [self.topics.find(command.channel, topic) for topic in wanted]
        ready = [each for each in found if each is not None and not _is_behind(each, wanted[each.name])]
        if len(ready) == len(found):
            return self._begin_all(session, command, ready, wanted, identity)
        charge_work(session, Work(LEVELS_TO_READ * len(wanted), 0))
        client_of(session).opening += len(wanted)
        self._desk.tally(session)
        self._later(session, self._begin_once_read(session, command, wanted, identity))
        return iter((TASK_US,))

    def _check(
        self, session: Session, command: SubscribeMap | SubscribePresence
    ) -> dict[str, tuple[int, int] | None]:
        if isinstance(command, SubscribeMap):
            check_map(self._config, command)
        else:
            check_presence(self._config, command)
        wanted = topics_of(command, client_of(session).identity.subject)
        for topic in wanted:
            check_may(session, Verb.READ, command.channel, topic)
            if isinstance(command, SubscribePresence) and command.who:
                check_may(session, Verb.WHO, command.channel, topic)
        self._desk.check_more(session, len(wanted))
        return wanted

    async def _begin_once_read(
        self,
        session: Session,
        command: SubscribeMap | SubscribePresence,
        wanted: dict[str, tuple[int, int] | None],
        identity: Identity,
    ) -> None:
        asker, found = self._desk.counted(session), []
        with ExitStack() as held:
            try:
                for topic, place in wanted.items():
                    found.append(await self._open(command.channel, topic, place, asker))
                    held.enter_context(found[-1].held())
            except CommandError as error:
                if session.open:
                    self._desk.refuse(session, command.id, error)
                return
            finally:
                client_of(session).opening -= len(wanted)
                self._desk.tally(session)
            if session.open:
                self._turns.run(session, self._begin_all(session, command, found, wanted, identity))

    async def _open(
        self, channel: Channel, topic: str, place: tuple[int, int] | None, asker: Asker
    ) -> OpenMap:
        try:
            async with asyncio.timeout(self._config.open_timeout_ms / 1000):
                if channel is Channel.PRESENCE:
                    await self.alive.begin()
                found = self.topics.find(channel, topic) or await self.topics.open(channel, topic, asker)
        except (TimeoutError, BusError):
            raise _unavailable(channel, topic) from None
        if place is not None and _is_behind(found, place):
            await _wait(found.reach(place[1]), AHEAD_S)
        return found

    async def _find(self, session: Session, topic: str) -> OpenMap:
        """Raises CommandError."""
        return await self._find_for(self._desk.counted(session), topic)

    async def _find_for(self, asker: Asker, topic: str) -> OpenMap:
        """Raises CommandError."""
        return self.topics.find(Channel.MAP, topic) or await self._open(Channel.MAP, topic, None, asker)

    def _begin_all(
        self,
        session: Session,
        command: SubscribeMap | SubscribePresence,
        found: list[OpenMap],
        wanted: dict[str, tuple[int, int] | None],
        identity: Identity,
    ) -> Steps:
        """``identity``: who was allowed it."""
        try:
            if client_of(session).identity is not identity:
                self._check(session, command)  # what is allowed may have changed
            else:
                self._desk.check_more(session, len(found))
            for each in found:
                self._view(session, command, each)
            rows = sum(1 + len(each.state) for each in found) * LEVELS_PER_ROW
            charge_work(session, Work(rows, rows))
            for each in found:
                yield from self._view(session, command, each).source.use(session.format)
                if not session.open:
                    return
                self._begin(session, command, each, wanted[each.name])
                yield
        except CommandError as error:
            self._desk.refuse(session, command.id, error)
        self._desk.tally(session)

    def _begin(
        self,
        session: Session,
        command: SubscribeMap | SubscribePresence,
        each: OpenMap,
        place: tuple[int, int] | None,
    ) -> None:
        topic = self._view(session, command, each).topic
        is_there = self._hub.find(session.sink, topic.number) is not None
        resumed = is_there or self._hub.subscribe(session.sink, topic, place)
        told = messages.subscribed_topic(command.id, topic, each.name, each.epoch, resumed=resumed)
        if isinstance(command, SubscribeMap):
            told["prefix"] = command.prefix
        else:
            if command.join:
                self._join(session, each, topic, command)
            told |= {"who": command.who, "join": topic.number in self._joined.get(session, ())}
        answer = messages.encode(session.format, told)
        if is_there:
            session.send_control(answer)
        else:
            self._hub.catch_up(session.sink, topic, answer)
            self._desk.begun(session, topic)
            if each.stale_us:
                tell(session, _state_of(each, topic))

    def _view(self, session: Session, command: SubscribeMap | SubscribePresence, each: OpenMap) -> View:
        return each.view(_key_of(command), self._desk.asker(session))

    # ---- presence

    def _join(self, session: Session, each: OpenMap, topic: Topic, command: SubscribePresence) -> None:
        client = client_of(session)
        self._joined.setdefault(session, {})[topic.number] = each.name
        value = presence_value(client.identity.subject, self._wall_us(), command.info, self.presence.instance)
        self.presence.join(each, client.id, value)

    def ended(self, session: Session, subs: Sequence[int]) -> None:
        """Call when subscriptions of a session have ended, of any channel."""
        joined = self._joined.get(session)
        if joined is None:
            return
        for sub in subs:
            topic = joined.pop(sub, None)
            if topic is not None and topic not in joined.values():
                self.presence.leave(topic, client_of(session).id)
        if not joined:
            del self._joined[session]

    @property
    def kept(self) -> dict[Session, dict[int, str]]:
        """What ends with a session, besides what it puts."""
        return self._joined

    def closed(self, session: Session) -> None:
        """Call when a session has ended."""
        self.puts.closed(session)
        joined = self._joined.get(session)
        if joined is not None:
            self.ended(session, list(joined))

    # ---- while it is shown

    def recover(self, session: Session, topic: Topic, from_seq: int) -> None:
        """Answers ``recover``. Raises CommandError."""
        each = next((each for each in self.topics for view in each if view.topic is topic), None)
        if each is None:
            raise CommandError(ErrorCode.UNAVAILABLE, "its numbers begin again; it is about to end")
        check_may(session, Verb.READ, Channel(topic.channel), each.name)
        charge_work(session, _work_of(each))
        self._hub.recover(session.sink, topic, from_seq)

    def end_forbidden(self, session: Session) -> None:
        """Call when a client's entitlements have changed."""
        by_number = {view.topic.number: (each, view) for each in self.topics for view in each}
        for topic in session.sink.topics():
            found = by_number.get(topic.number)
            if found is None:
                continue
            each, view = found
            verbs = (Verb.READ, Verb.WHO) if view.key.who else (Verb.READ,)
            if not all(may(session, verb, view.key.channel, each.name) for verb in verbs):
                self._desk.end(session, [topic], ErrorCode.NOT_ENTITLED.value)

    def _replaced(self, topics: Sequence[Topic]) -> None:
        """Their numbers mean nothing any more: clients subscribe again."""
        self._turns.run_own(self._end_each(topics))

    def _tell(self, each: OpenMap) -> None:
        """It has become stale, or is not any more."""
        for view in each:
            if view.topic.subscribers:
                self._hub.broadcast(view.topic, *messages.encode_both(_state_of(each, view.topic)))

    def _end_each(self, topics: Sequence[Topic]) -> Steps:
        for session in self._desk.sessions():
            ended = [topic for topic in topics if self._hub.find(session.sink, topic.number) is not None]
            if ended and session.open:
                self._desk.end(session, ended, RESCALED)
            yield

    # ---- time

    def sweep(self) -> None:
        """Call about once a second."""
        self.topics.sweep()
        for each in self.topics.of(Channel.PRESENCE):
            self.presence.look_at(each)
        self.presence.sweep()
        self.alive.tick()

    async def close(self) -> None:
        await self.alert_rights.close()
        await self.presence.close()
        await self.topics.close()
        await self.alive.close()

    def _later(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._desk.later(session, task)


def check_may(session: Session, verb: Verb, channel: Channel, topic: str) -> None:
    entitled.check_may(client_of(session).identity, verb, channel.value, topic)


def may(session: Session, verb: Verb, channel: Channel, topic: str) -> bool:
    identity: Identity = client_of(session).identity
    return identity.entitlements.may(verb, channel.value, topic, identity.subject)


def _state_of(each: OpenMap, topic: Topic) -> messages.Message:
    if each.stale_us:
        return messages.state(
            topic.number,
            State.STALE,
            each.stale_us,
            StateCode.NATS_AWAY,
            None,
            "there is no connection to NATS",
        )
    return messages.state(topic.number, State.LIVE, each.live_us, None, None, None)


def _is_behind(each: OpenMap, place: tuple[int, int] | None) -> bool:
    """Whether the client comes from a gateway that was further."""
    return place is not None and place[0] == each.epoch and place[1] > each.state.seq


def _key_of(command: SubscribeMap | SubscribePresence) -> ViewKey:
    if isinstance(command, SubscribeMap):
        return ViewKey(Channel.MAP, command.prefix, command.interval_ms)
    return ViewKey(Channel.PRESENCE, "", command.interval_ms, command.who)


def _work_of(each: OpenMap) -> Work:
    rows = LEVELS_PER_ROW * (1 + len(each.state))
    return Work(rows, rows)


async def _wait(work: Awaitable[None], most_s: float) -> None:
    try:
        async with asyncio.timeout(most_s):
            await work
    except TimeoutError:
        return


def _unavailable(channel: Channel, topic: str) -> CommandError:
    return CommandError(ErrorCode.UNAVAILABLE, f"{channel} {topic} cannot be read now; try again")
