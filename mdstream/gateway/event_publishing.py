"""``publish``: events of clients, into the stream. They are answered once JetStream has stored them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from mdstream.auth.topic_grants import Verb
from mdstream.bus.events import Event, check_event, encode_event, event_subject, message_id
from mdstream.bus.stream_publisher import Done, Outcome
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import messages
from mdstream.gateway.clients import client_of, tell
from mdstream.gateway.commands import CommandId, Publish
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.desk import Desk
from mdstream.gateway.entitled import check_may
from mdstream.gateway.event_topics import EventTopics
from mdstream.gateway.together import Together
from mdstream.gateway.topic_budgets import TopicBudgets
from mdstream.gateway.turns import Corks
from mdstream.model import Channel
from mdstream.topics import named_topic

if TYPE_CHECKING:
    from mdstream._core.net.session import Session

MOST_EARLY: Final = 1_000
"""Events that wait until the stream is there."""
ALL_TOPICS: Final = ""
EARLY_AT_ONCE: Final = 16
"""Of those, published in one turn of the loop: each takes some 30 µs."""


class _Early(NamedTuple):
    """An event that waits for the stream."""

    subject: str
    payload: bytes
    key: str | None
    done: Done


class _Answer(NamedTuple):
    """What became of an event."""

    session: Session
    id: CommandId
    topic: str
    outcome: Outcome


class EventPublishing:
    """Answers ``publish``."""

    def __init__(
        self,
        config: GatewayConfig,
        topics: EventTopics,
        desk: Desk,
        corks: Corks,
        now_s: Callable[[], float],
    ) -> None:
        self._topics = topics
        self._desk = desk
        self._budgets = TopicBudgets(
            "publishes",
            "too many events to this topic",
            config.publishes_burst,
            config.publishes_per_second,
            now_s,
        )
        self._bytes = TopicBudgets(
            "published_bytes",
            "too much was published",
            config.published_bytes_burst,
            config.published_bytes_per_hour / 3_600,
            now_s,
            every="hour",
        )
        self._counts: Counter[str] = topics.counts
        self._answers = Together(corks, self._answer)
        self._early: deque[_Early] = deque()
        self._beginning: asyncio.Task[None] | None = None

    def publish(self, session: Session, command: Publish) -> None:
        """Raises CommandError. Those of a session are published in the order in which they came."""
        identity = client_of(session).identity
        try:
            topic = named_topic(command.topic, identity.subject)
        except ValueError as error:
            raise CommandError(ErrorCode.BAD_VALUE, str(error)) from None
        check_may(identity, Verb.PUBLISH, Channel.EVENTS, topic)
        self._budgets.charge(self._desk.asker(session), topic)
        try:
            check_event(command.event, command.data)
        except ValueError as error:
            raise CommandError(ErrorCode.BAD_VALUE, str(error)) from None
        payload = encode_event(Event(command.event, command.data, identity.subject or None))
        asker = self._desk.counted(session)
        if asker.is_counted:
            self._bytes.charge(asker.key, ALL_TOPICS, len(payload))
        key = None if command.key is None else message_id(identity.subject, topic, command.key)
        done = partial(self._done, session, command.id, topic)
        if self._topics.publisher is not None and not self._early:
            self._topics.publisher.publish(event_subject(topic), payload, key, done)
        else:
            self._publish_early(_Early(event_subject(topic), payload, key, done))

    def _publish_early(self, early: _Early) -> None:
        """The first ones wait until the stream is there."""
        if len(self._early) >= MOST_EARLY:
            raise CommandError(ErrorCode.UNAVAILABLE, "the stream of events is not there yet; try again")
        self._early.append(early)
        if self._beginning is None:
            self._beginning = asyncio.get_running_loop().create_task(self._begin())

    async def _begin(self) -> None:
        failed = ""
        try:
            await self._topics.begin()
        except CommandError as error:
            failed = str(error)
        publisher = self._topics.publisher
        while self._early:  # who comes meanwhile waits behind them
            for _ in range(min(EARLY_AT_ONCE, len(self._early))):
                each = self._early.popleft()
                if publisher is None:
                    each.done(Outcome(0, False, failed))
                else:
                    publisher.publish(*each)
            await asyncio.sleep(0)
        self._beginning = None

    async def close(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.gather(self._beginning, return_exceptions=True)

    def _done(self, session: Session, id: CommandId, topic: str, outcome: Outcome) -> None:
        self._answers.add(_Answer(session, id, topic, outcome))

    def _answer(self, answer: _Answer) -> None:
        session, id, topic, outcome = answer
        if outcome.failed is not None:
            self._counts["unavailable"] += 1
            if session.open:
                refused = CommandError(
                    ErrorCode.UNAVAILABLE, f"{outcome.failed}; try again with the same key"
                )
                self._desk.refuse(session, id, refused)
            return
        self._counts["duplicates" if outcome.duplicate else "published"] += 1
        if session.open:
            tell(session, messages.published(id, topic, outcome.seq, duplicate=outcome.duplicate))
