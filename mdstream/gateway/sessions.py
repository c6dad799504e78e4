"""What clients say and what they are answered: one ``Sessions`` for all, a small ``_Client`` for each.

All commands are answered at once but ``subscribe`` to an instrument that must first be opened; a client's later commands do not wait
for it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from mdstream.codes import CloseCode, ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import messages, wire
from mdstream.gateway.budget import Budget
from mdstream.gateway.commands import (
    Auth,
    CommandId,
    CommandReader,
    Ping,
    Recover,
    Subscribe,
    Unsubscribe,
    id_of,
)
from mdstream.gateway.config import GatewayConfig
from mdstream.model import InstrumentId, State

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.net.session import Session
    from mdstream.gateway.listing import Listing
    from mdstream.gateway.market import Market

log = logging.getLogger("mdstream.gateway.sessions")

_BUDGET_PERIOD_S = 60.0


class _Client:
    """What the gateway keeps of one session."""

    __slots__ = ("commands", "errors", "opening")

    def __init__(self, config: GatewayConfig, now_s: float) -> None:
        self.errors = Budget(config.max_errors, config.max_errors / _BUDGET_PERIOD_S, now_s)
        self.commands = Budget(config.commands_burst, config.commands_per_second, now_s)
        self.opening = 0
        """Subscriptions that wait for their instruments to open; they count against the limit."""


class Sessions:
    """Every open session; its methods are the callbacks of ``mdstream._core.net.session.Session``."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        market: Market,
        *,
        now_us: Callable[[], int],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._hub = hub
        self._market = market
        self._reader = CommandReader(config)
        self._welcomes = messages.Welcomes(config)
        self._now_us = now_us
        self._now_s = now_s
        self._open: set[Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[type, tuple[str, Callable[[Session, Any], None]]] = {
            Subscribe: ("subscribe", self._subscribe),
            Unsubscribe: ("unsubscribe", self._unsubscribe),
            Recover: ("recover", self._recover),
            Auth: ("auth", self._auth),
            Ping: ("ping", self._ping),
        }
        self.opened_total = 0
        self.commands_total: Counter[str] = Counter()
        self.errors_total: Counter[str] = Counter()
        self.closes_total: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._open))

    # ---- the callbacks of a session

    def opened(self, session: Session) -> None:
        session.context = _Client(self._config, self._now_s())
        self._open.add(session)
        self.opened_total += 1
        session.send_control(self._welcomes.encode(session.format, secrets.token_hex(8), self._now_us()))

    def received(self, session: Session, payload: bytes) -> None:
        """Answers one WebSocket message; whatever it holds, nothing is raised."""
        try:
            for value in wire.decode(session.format, payload):
                self._answer(session, value)
                if not session.open:
                    return
        except CommandError as error:
            self._refuse(session, UNSET, error)

    def closed(self, session: Session, code: int) -> None:
        self._open.discard(session)
        self.closes_total[code] += 1

    # ---- the end

    async def cancel_openings(self) -> None:
        """Gives up what still waits for instruments to open."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send_drain(self, session: Session, reconnect_after_ms: int, deadline_ms: int) -> None:
        self._send(session, messages.drain(reconnect_after_ms, deadline_ms))

    def end_subscriptions(self, core: Instrument, reason: str) -> None:
        """Ends every subscription to an instrument, telling each client why."""
        for session in self:
            topics = [topic for topic in session.sink.topics() if topic.instrument is core]
            for topic in topics:
                self._hub.unsubscribe(session.sink, topic)
            if topics:
                self._send(session, messages.unsubscribed(UNSET, [topic.number for topic in topics], reason))

    # ---- one command

    def _answer(self, session: Session, value: object) -> None:
        try:
            if not _client(session).commands.take(self._now_s()):
                rate = self._config.commands_per_second
                raise CommandError(
                    ErrorCode.RATE_LIMITED, f"too many commands; {rate} per second are allowed"
                )
            command = self._reader.read(value)
            op, answer = self._answers[type(command)]
            self.commands_total[op] += 1
            answer(session, command)
        except CommandError as error:
            self._refuse(session, id_of(value), error)

    def _refuse(self, session: Session, id: CommandId, error: CommandError) -> None:
        """Sends ``error`` and takes it from the error budget; closes the session that has spent it."""
        self.errors_total[error.code] += 1
        self._send(session, messages.error(id, error.code, str(error)))
        if _client(session).errors.take(self._now_s()):
            return
        if error.code == ErrorCode.RATE_LIMITED:
            session.close(CloseCode.RATE_LIMIT, "too many commands")
        else:
            session.close(CloseCode.ERROR_BUDGET, "too many commands failed")

    def _ping(self, session: Session, command: Ping) -> None:
        try:
            self._send(session, messages.pong(command.id, command.data, self._now_us()))
        except (ValueError, RecursionError, OverflowError):
            raise CommandError(ErrorCode.BAD_VALUE, "data cannot be echoed: it is nested too deep") from None

    def _auth(self, session: Session, command: Auth) -> None:
        raise CommandError(
            ErrorCode.UNAVAILABLE, "this gateway takes no tokens; everything is open without one"
        )

    def _recover(self, session: Session, command: Recover) -> None:
        topic = self._hub.find(session.sink, command.sub)
        if topic is None:
            raise _unknown_sub(command.sub)
        listing = self._market.find(topic.instrument.name)
        if listing is None or not listing.standing(topic.channel).settled.is_set():
            raise CommandError(
                ErrorCode.UNAVAILABLE, f"{topic.instrument.name} is still opening; its data will follow"
            )
        self._hub.recover(session.sink, topic, command.from_seq)

    def _unsubscribe(self, session: Session, command: Unsubscribe) -> None:
        topics = [self._hub.find(session.sink, sub) for sub in command.subs]
        for sub, topic in zip(command.subs, topics, strict=True):
            if topic is None:
                raise _unknown_sub(sub)
        for topic in topics:
            if topic is not None:
                self._hub.unsubscribe(session.sink, topic)
        self._send(session, messages.unsubscribed(command.id, command.subs, "requested"))

    # ---- subscribe

    def _subscribe(self, session: Session, command: Subscribe) -> None:
        listings = self._market.listings(command.instruments, command.channel, settled=bool(command.resume))
        if listings is not None:
            self._commit(session, command, listings)
            return
        ids = command.ids()
        self._check_room(session, command)
        _client(session).opening += len(command.instruments)
        task = asyncio.get_running_loop().create_task(self._open_and_commit(session, command, ids))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._opened_for(session, done))

    def _opened_for(self, session: Session, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a subscribe failed", exc_info=error)
            session.close(CloseCode.INTERNAL_ERROR, "internal error")

    async def _open_and_commit(self, session: Session, command: Subscribe, ids: list[InstrumentId]) -> None:
        try:
            listings = await self._market.open(ids, command.channel, settled=bool(command.resume))
        except CommandError as error:
            if session.open:
                self._refuse(session, command.id, error)
            return
        finally:
            _client(session).opening -= len(command.instruments)
        if session.open:
            self._commit_later(session, command, listings)

    def _commit_later(self, session: Session, command: Subscribe, listings: list[Listing]) -> None:
        self._hub.cork()
        try:
            self._commit(session, command, listings)
        except CommandError as error:
            self._refuse(session, command.id, error)
        finally:
            self._hub.uncork()

    def _commit(self, session: Session, command: Subscribe, listings: Iterable[Listing]) -> None:
        """Subscribes to all or, raising CommandError, to none; nothing else runs in between."""
        self._check_room(session, command)
        for listing in listings:
            self._subscribe_one(session, command, listing)

    def _check_room(self, session: Session, command: Subscribe) -> None:
        most = self._config.max_subscriptions
        wanted = session.sink.subscriptions + _client(session).opening + len(command.instruments)
        if wanted <= most:
            return
        have = {_key(topic.instrument.name, topic) for topic in session.sink.topics()}
        new = sum(_key(name, command) not in have for name in command.instruments)
        if new and len(have) + _client(session).opening + new > most:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{len(have)} of {most} subscriptions are in use; {new} more are too many",
            )

    def _subscribe_one(self, session: Session, command: Subscribe, listing: Listing) -> None:
        hub, sink = self._hub, session.sink
        topic = hub.topic(
            listing.core, command.channel.value, command.depth, command.group, command.interval_ms
        )
        if hub.find(sink, topic.number) is not None:
            # Nothing restarts: the data of the subscription that there is goes on.
            self._send(session, messages.subscribed(command.id, topic, listing, resumed=True))
            return
        resumed = hub.subscribe(sink, topic, command.resume.get(listing.name))
        self._send(session, messages.subscribed(command.id, topic, listing, resumed=resumed))
        standing = listing.standing(topic.channel)
        if standing.state is not State.LIVE:
            session.send_control(standing.messages(topic.number)[session.format])
        self._market.show(sink, topic, listing)

    def _send(self, session: Session, message: wire.Message) -> None:
        session.send_control(wire.encode(session.format, message))


def _key(name: str, view: Any) -> tuple[str, str, int, int, int]:
    """What makes a topic, of a topic and of a ``Subscribe`` alike."""
    return (name, str(view.channel), view.depth, view.group, view.interval_ms)


def _client(session: Session) -> _Client:
    client = session.context
    assert isinstance(client, _Client)
    return client


def _unknown_sub(sub: int) -> CommandError:
    return CommandError(ErrorCode.UNKNOWN_SUB, f"there is no subscription {sub} in this session")
