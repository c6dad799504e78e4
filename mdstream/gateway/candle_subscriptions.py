"""Subscriptions to candles: begun as soon as the candles are read. What follows goes through the topic, as for every channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from mdstream.errors import CommandError
from mdstream.gateway import messages
from mdstream.gateway.budget import Cost
from mdstream.gateway.candle_topics import INTERVAL_MS, CandleTopic, CandleTopics
from mdstream.gateway.clients import charge_work, client_of
from mdstream.gateway.commands import SubscribeCandles
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.costs import Work
from mdstream.gateway.desk import Desk
from mdstream.gateway.entitled import check_instruments
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session

LEVELS_PER_ROW: Final = 4
"""A candle costs as much as so many levels."""
LEVELS_TO_READ: Final = 2_000
"""What it costs to read candles that nobody else looks at."""


class CandleDesk(Desk, Protocol):
    def count_begin(self, session: Session, topic: Topic) -> None: ...
    def begun(self, session: Session, topic: Topic) -> None: ...


class CandleSubscriptions:
    """Answers ``subscribe`` to candles, and ``recover``."""

    def __init__(self, config: GatewayConfig, hub: Hub, topics: CandleTopics, desk: CandleDesk) -> None:
        self._config = config
        self._hub = hub
        self._topics = topics
        self._desk = desk

    def subscribe(self, session: Session, command: SubscribeCandles) -> None:
        """Raises CommandError."""
        self._check(session, command)
        found = [self._topics.find(name, command.span) for name in command.instruments]
        ready = [each for each in found if each is not None]
        self._charge(session, command, unread=len(found) - len(ready))
        if len(ready) == len(found):
            self._begin_all(session, command, ready)
            return
        client_of(session).opening += len(command.instruments)
        self._desk.tally(session)
        self._desk.later(
            session, asyncio.get_running_loop().create_task(self._begin_once_read(session, command))
        )

    def _check(self, session: Session, command: SubscribeCandles) -> None:
        entitlements = client_of(session).identity.entitlements
        check_instruments(
            entitlements, Channel.CANDLES, command.instruments, INTERVAL_MS, self._config.delay_ms
        )
        self._desk.check_more(session, len(command.instruments))

    def _charge(self, session: Session, command: SubscribeCandles, unread: int) -> None:
        rows = len(command.instruments) * (command.history + 1) * LEVELS_PER_ROW
        charge_work(session, Work(rows + unread * LEVELS_TO_READ, rows), command.echo_bytes)

    async def _begin_once_read(self, session: Session, command: SubscribeCandles) -> None:
        try:
            found = [await self._open(name, command.span) for name in command.instruments]
        except CommandError as error:
            if session.open:
                self._desk.refuse(session, command.id, error)
            return
        finally:
            client_of(session).opening -= len(command.instruments)
            self._desk.tally(session)
        if not session.open:
            return
        try:
            self._check(session, command)  # what is allowed may have changed
            self._begin_all(session, command, found)
        except CommandError as error:
            self._desk.refuse(session, command.id, error)

    async def _open(self, name: str, span: str) -> CandleTopic:
        try:
            async with asyncio.timeout(self._config.open_timeout_ms / 1000):
                return await self._topics.open(name, span)
        except TimeoutError:
            raise CommandError(
                "unavailable", f"the candles of {name} cannot be read now; try again"
            ) from None

    def _begin_all(self, session: Session, command: SubscribeCandles, found: list[CandleTopic]) -> None:
        self._hub.cork()
        try:
            for each in found:
                if session.open:
                    self._begin(session, command, each)
        finally:
            self._hub.uncork()
        self._desk.tally(session)

    def _begin(self, session: Session, command: SubscribeCandles, found: CandleTopic) -> None:
        """Answers, sends the history, and lets what follows come."""
        topic = found.topic
        is_new = self._hub.find(session.sink, topic.number) is None
        if is_new:
            # The history is what the topic has: nothing is missing before its next number.
            self._hub.subscribe(session.sink, topic, (topic.epoch, topic.seq))
            self._desk.count_begin(session, topic)
            self._desk.begun(session, topic)
        answer = messages.subscribed_candles(
            command.id, topic.number, str(found.instrument), found.span, found.ref
        )
        session.send_control(messages.encode(session.format, answer))
        for message in found.source.history(session.format, command.history):
            session.send_control(message)
        if is_new:
            self._hub.catch_up(session.sink, topic)
        if not found.pulse.is_live:
            told = found.pulse.message(topic.number, asyncio.get_running_loop().time())
            session.send_control(messages.encode(session.format, told))

    def recover(self, session: Session, topic: Topic, from_seq: int) -> None:
        """Sends all that is kept again. Raises CommandError ``rate_limited``."""
        client_of(session).budgets.charge(Cost.LEVELS, LEVELS_TO_READ * LEVELS_PER_ROW)
        charge_work(session, Work(0, LEVELS_TO_READ * LEVELS_PER_ROW))
        self._hub.recover(session.sink, topic, from_seq)
