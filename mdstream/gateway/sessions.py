"""Answers the commands of all clients: one ``Sessions`` for all of them, a small ``_Client`` for each.

Every command is answered at once, except a ``subscribe`` to an instrument that must first be opened. A client's later commands do
not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from mdstream.codes import CloseCode, ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import messages
from mdstream.gateway.budget import Budget
from mdstream.gateway.commands import (
    Auth,
    BadCommand,
    Command,
    CommandId,
    CommandReader,
    Ping,
    Recover,
    Subscribe,
    Unsubscribe,
)
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.grouped_views import GroupedViews
from mdstream.gateway.sockets import peer_of
from mdstream.model import Channel, InstrumentId, State

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.net.session import Session
    from mdstream.gateway.open_instrument import OpenInstrument
    from mdstream.gateway.open_instruments import OpenInstruments

log = logging.getLogger("mdstream.gateway.sessions")

_BUDGET_PERIOD_S = 60.0


class _Client:
    """What the gateway keeps of one session."""

    __slots__ = ("commands", "errors", "id", "opening", "recovers", "tasks")

    def __init__(self, config: GatewayConfig, now_s: float) -> None:
        self.id = secrets.token_hex(8)
        self.errors = Budget(config.max_errors, config.max_errors / _BUDGET_PERIOD_S, now_s)
        self.commands = Budget(config.commands_burst, config.commands_per_second, now_s)
        self.recovers = Budget(config.recovered_burst, config.recovered_per_second, now_s)
        """What recovers may cost."""
        self.opening = 0
        """Subscriptions that wait for their instruments to open; they count against the limit."""
        self.tasks: set[asyncio.Task[None]] = set()
        """What waits for them; it ends with the session."""


class Sessions:
    """Every open session; its methods are the callbacks of ``mdstream._core.net.session.Session``."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        instruments: OpenInstruments,
        *,
        wall_us: Callable[[], int],
        now_s: Callable[[], float] = time.monotonic,
        asker_of: Callable[[Session], Hashable] = lambda session: session,
    ) -> None:
        """``asker_of``: for whom a session opens instruments; askers take turns."""
        self._config = config
        self._hub = hub
        self._instruments = instruments
        instruments.end_subscriptions_by(self._end_subscriptions)
        self._reader = CommandReader(config)
        self._grouped = GroupedViews(config)
        self._asker_of = asker_of
        self._welcomes = messages.Welcomes(config)
        self._wall_us = wall_us
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
        session.context = client = _Client(self._config, self._now_s())
        self._open.add(session)
        self.opened_total += 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("session %s: connected from %s", client.id, peer_of(session.transport))
        session.send_control(self._welcomes.encode(session.format, client.id, self._wall_us()))

    def received(self, session: Session, payload: bytes) -> None:
        """Answers one WebSocket message; raises nothing, whatever the message holds."""
        try:
            for command in self._reader.read_message(session.format, payload):
                if not session.open:
                    return
                self._answer(session, command)
        except CommandError as error:
            self._refuse(session, UNSET, error)

    def closed(self, session: Session, code: int) -> None:
        self._open.discard(session)
        self.closes_total[code] += 1
        for task in list(_client(session).tasks):
            task.cancel()
        log.debug("session %s: closed with %d", _client(session).id, code)

    # ---- the end

    async def cancel_openings(self) -> None:
        """Cancels every ``subscribe`` that still waits for an instrument to open."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send_drain(self, session: Session, reconnect_after_ms: int, deadline_ms: int) -> None:
        self._send(session, messages.drain(reconnect_after_ms, deadline_ms))

    def _end_subscriptions(self, core: Instrument, reason: str) -> None:
        """Ends every subscription to an instrument and tells each client why."""
        for session in self:
            topics = [topic for topic in session.sink.topics() if topic.instrument is core]
            for topic in topics:
                self._hub.unsubscribe(session.sink, topic)
            if topics:
                self._send(session, messages.unsubscribed(UNSET, [topic.number for topic in topics], reason))

    # ---- one command

    def _answer(self, session: Session, command: Command | BadCommand) -> None:
        try:
            if not _client(session).commands.take(self._now_s()):
                rate = self._config.commands_per_second
                raise CommandError(
                    ErrorCode.RATE_LIMITED, f"too many commands; {rate} per second are allowed"
                )
            if isinstance(command, BadCommand):
                raise command.error
            op, answer = self._answers[type(command)]
            self.commands_total[op] += 1
            answer(session, command)
        except CommandError as error:
            self._refuse(session, command.id, error)

    def _refuse(self, session: Session, id: CommandId, error: CommandError) -> None:
        """Sends ``error`` and takes one from the error budget; closes a session that has spent its budget."""
        self.errors_total[error.code] += 1
        log.debug("session %s: a command is refused, %s: %s", _client(session).id, error.code, error)
        self._send(session, messages.error(id, error.code, str(error)))
        if _client(session).errors.take(self._now_s()):
            return
        if error.code == ErrorCode.RATE_LIMITED:
            session.close(CloseCode.RATE_LIMIT, "too many commands")
        else:
            session.close(CloseCode.ERROR_BUDGET, "too many commands failed")

    def _ping(self, session: Session, command: Ping) -> None:
        try:
            self._send(session, messages.pong(command.id, command.data, self._wall_us()))
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
        instrument = self._instruments.find(topic.instrument.name)
        no_book = topic.channel != Channel.TRADES and topic.seq == 0
        if instrument is None or no_book or not instrument.statuses[topic.channel].has_data.is_set():
            raise CommandError(
                ErrorCode.UNAVAILABLE, f"{topic.instrument.name} is still opening; its data will follow"
            )
        work = self._hub.recover_work(session.sink, topic, command.from_seq)
        if not _client(session).recovers.take(self._now_s(), work):
            raise CommandError(
                ErrorCode.RATE_LIMITED,
                f"too much is recovered: the answer may take {work} levels or trades; "
                f"{self._config.recovered_per_second} per second are allowed",
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
        found = self._instruments.find_all(
            command.instruments, command.channel, with_data=bool(command.resume)
        )
        if found is not None and not self._is_behind(command, found):
            self._commit(session, command, found)
            return
        self._check_room(session, command)
        ids = command.ids()
        _client(session).opening += len(command.instruments)
        task = asyncio.get_running_loop().create_task(self._open_and_commit(session, command, ids))
        self._tasks.add(task)
        _client(session).tasks.add(task)
        task.add_done_callback(lambda done: self._opened_for(session, done))

    def _opened_for(self, session: Session, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _client(session).tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a subscribe failed", exc_info=error)
            session.close(CloseCode.INTERNAL_ERROR, "internal error")

    async def _open_and_commit(self, session: Session, command: Subscribe, ids: list[InstrumentId]) -> None:
        try:
            found = await self._instruments.open(
                ids, command.channel, asker=self._asker_of(session), with_data=bool(command.resume)
            )
            if self._is_behind(command, found):
                await self._instruments.reach(found, command.resume)
        except CommandError as error:
            if session.open:
                self._refuse(session, command.id, error)
            return
        finally:
            _client(session).opening -= len(command.instruments)
        if session.open:
            self._commit_later(session, command, found)

    def _commit_later(self, session: Session, command: Subscribe, found: list[OpenInstrument]) -> None:
        self._hub.cork()
        try:
            self._commit(session, command, found)
        except CommandError as error:
            self._refuse(session, command.id, error)
        finally:
            self._hub.uncork()

    def _commit(self, session: Session, command: Subscribe, found: Sequence[OpenInstrument]) -> None:
        """Subscribes to all, or raises CommandError and subscribes to none; nothing else runs in between."""
        self._check_room(session, command)
        for instrument in found:
            self._grouped.check_instrument(instrument, command)
        for instrument in found:
            if not session.open:
                return
            self._subscribe_one(session, command, instrument)

    def _is_behind(self, command: Subscribe, found: Sequence[OpenInstrument]) -> bool:
        return command.channel == Channel.BOOK and self._instruments.is_behind(found, command.resume)

    def _check_room(self, session: Session, command: Subscribe) -> None:
        """Raises CommandError ``limit_subscriptions`` if the client may not have so many."""
        most = self._config.max_subscriptions
        wanted = session.sink.subscriptions + _client(session).opening + len(command.instruments)
        if wanted <= most and command.group == 1:
            return
        topics = session.sink.topics()
        have = {
            t.instrument.name for t in topics if (t.channel, t.depth, t.group, t.interval_ms) == command.view
        }
        new = sum(name not in have for name in command.instruments)
        if command.group != 1:
            self._grouped.check_client(session.sink.grouped, new)
        if new and len(topics) + _client(session).opening + new > most:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{len(topics)} of {most} subscriptions are in use; {new} more are too many",
            )

    def _subscribe_one(self, session: Session, command: Subscribe, instrument: OpenInstrument) -> None:
        resume = command.resume.get(instrument.name)
        topic, resumed = self._hub.join(session.sink, instrument.core, command.view, resume)
        answer = messages.subscribed(
            session.format,
            command.id,
            topic,
            instrument.ref,
            resumed=resumed is not False,
            delay_ms=self._config.delay_ms,
        )
        status = instrument.statuses[command.channel]
        if resumed is None:
            # The client is subscribed already: its data continues where it is.
            session.send_control(answer)
        elif status.state is State.LIVE:
            self._hub.catch_up(session.sink, topic, answer)
        else:
            session.send_control(answer)
            session.send_control(status.messages(topic.number)[session.format])
            self._instruments.show(session.sink, topic, status)

    def _send(self, session: Session, message: messages.Message) -> None:
        session.send_control(messages.encode(session.format, message))


def _client(session: Session) -> _Client:
    client = session.context
    assert isinstance(client, _Client)
    return client


def _unknown_sub(sub: int) -> CommandError:
    return CommandError(ErrorCode.UNKNOWN_SUB, f"there is no subscription {sub} in this session")
