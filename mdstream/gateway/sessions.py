"""Answers the commands of all clients: one ``Sessions`` for all of them, a small ``_Client`` for each.

Every command is answered in its turn, in the order in which they came, except a ``subscribe`` to an instrument that must first be opened:
a client's later commands do not wait for it. What takes long is done in slices, see ``turns``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from mdstream.auth.identity import Identity
from mdstream.auth.revocations import Revocations
from mdstream.codes import CloseCode, ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import costs, messages
from mdstream.gateway.addresses import shown_address
from mdstream.gateway.audit import Audit
from mdstream.gateway.budget import Cost, OverBudget, SessionBudgets, beyond
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
from mdstream.gateway.entitled import check_subscribe, check_topic, no_longer_allowed
from mdstream.gateway.grouped_views import GroupedViews
from mdstream.gateway.lifetimes import Lifetimes, SingleSessions
from mdstream.gateway.limits import Limits, Visitor
from mdstream.gateway.renewals import Renewals
from mdstream.gateway.sockets import peer_of
from mdstream.gateway.turns import Steps, Turns
from mdstream.gateway.usage import Part, Usage, part_of
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.instrument import Instrument
    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session
    from mdstream.auth.authenticator import Authenticator
    from mdstream.gateway.open_instrument import OpenInstrument
    from mdstream.gateway.open_instruments import OpenInstruments

log = logging.getLogger("mdstream.gateway.sessions")

_AUDITED = (ErrorCode.NOT_ENTITLED, ErrorCode.UNAUTHORIZED)
"""Refusals of commands that the audit log tells."""
UNWELCOME = object()
"""``Session.context`` of a client that is let in only to be told that it is unauthorized."""


class _Client:
    """What the gateway keeps of one session."""

    __slots__ = ("budgets", "id", "identity", "opened_s", "opening", "parts", "tasks", "visitor")

    def __init__(self, config: GatewayConfig, now_s: Callable[[], float], visitor: Visitor) -> None:
        self.id = secrets.token_hex(8)
        self.visitor = visitor
        self.identity = visitor.identity
        self.opened_s = now_s()
        self.budgets = SessionBudgets(config, now_s)
        self.opening = 0
        """Subscriptions that are not made yet, as their instruments must be opened or others come first; they count against the limit."""
        self.tasks: set[asyncio.Task[None]] = set()
        """What waits for its instruments to open; it ends with the session."""
        self.parts: dict[int, Part] | None = None
        """By the number of a subscription: how its use is counted. None where usage is not recorded."""

    @property
    def address(self) -> str:
        """For the audit log."""
        return shown_address(self.visitor.address)


class Sessions:
    """Every open session; its methods are the callbacks of ``mdstream._core.net.session.Session``."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        instruments: OpenInstruments,
        *,
        audit: Audit | None = None,
        wall_us: Callable[[], int],
        now_s: Callable[[], float] = time.monotonic,
        turns: Turns | None = None,
        asker_of: Callable[[Session], Hashable] | None = None,
        authenticator: Authenticator | None = None,
        revocations: Revocations | None = None,
        limits: Limits | None = None,
        usage: Usage | None = None,
    ) -> None:
        """``asker_of``: for whom a session opens instruments; askers take turns. By default the user,
        else the address, else the session."""
        self._config = config
        self._asker_of = asker_of or _asker
        self._audit = audit or Audit()
        self._usage = usage
        self._limits = limits or Limits(config, now_s)
        self._hub = hub
        self._instruments = instruments
        instruments.end_subscriptions_by(self._end_subscriptions)
        self._reader = CommandReader(config)
        self._welcomes: dict[tuple[str, ...], messages.Welcomes] = {}
        """By the scopes of the limits that the client has besides its own."""
        self._grouped = GroupedViews(config)
        self._wall_us = wall_us
        self._now_s = now_s
        self.turns = turns or Turns(hub)
        self._open: set[Session] = set()
        self.lifetimes = Lifetimes(
            self,
            Revocations(wall_us) if revocations is None else revocations,
            member=_client,
            tell_expiring=self._tell_expiring,
            tell_revoked=lambda what, member: self._audit.revoked(what, member.id, member.identity),
            now_s=now_s,
        )
        self.single = SingleSessions(_client, now_s) if config.auth_single_session else None
        self.tell_opened: Callable[[str, str], None] = lambda subject, session: None
        """Called with subject and session where a subject may have one session only."""
        self._renewals = Renewals(authenticator, take=self._renewed, refuse=self._refuse_auth)
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[type, tuple[str, Callable[[Session, Any], Steps | None]]] = {
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
        self.limited_total: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, session: object) -> bool:
        return session in self._open

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._open))

    # ---- the callbacks of a session

    def opened(self, session: Session) -> None:
        """``session.context`` is who came; nobody is meant where there is none."""
        visitor = session.context
        if visitor is UNWELCOME:
            self._send(session, messages.error(UNSET, ErrorCode.UNAUTHORIZED, "a valid credential is needed"))
            session.close(CloseCode.TOKEN_EXPIRED, "unauthorized")
            return
        if not isinstance(visitor, Visitor):
            visitor = Visitor()
        session.context = client = _Client(self._config, self._now_s, visitor)
        self._limits.entered(visitor)
        client.budgets.also = self._limits.charger(visitor)
        self._open.add(session)
        self.opened_total += 1
        self._follow(session, client)
        self._audit.login(client.id, client.identity, client.address)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("session %s: connected from %s", client.id, peer_of(session.transport))
        session.send_control(self._welcome(visitor).encode(session.format, client.id, self._wall_us()))

    def received(self, session: Session, payload: bytes) -> None:
        """Answers one WebSocket message, now or in slices; raises nothing, whatever the message holds."""
        self.turns.run(session, self._answer_all(session, payload))

    def limited(self, session: Session, kind: str) -> None:
        """The core has refused what a client sent: ``decoded_bytes``, a message; ``control_frames``, pings that are not all answered."""
        if kind == Cost.DECODED_BYTES:
            self._refuse(session, UNSET, beyond(Cost.DECODED_BYTES))
        else:
            self.limited_total[kind] += 1

    def closed(self, session: Session, code: int) -> None:
        self.closes_total[code] += 1
        if session not in self._open:
            return
        self._open.discard(session)
        self.turns.forget(session)
        for task in list(_client(session).tasks):
            task.cancel()
        self._limits.left(_client(session).visitor)
        self._count_ends(session)
        self._renewals.forget(session)
        if self.single is not None:
            self.single.closed(session)
        log.debug("session %s: closed with %d", _client(session).id, code)

    def _follow(self, session: Session, client: _Client) -> None:
        """Ends it with its credential, and older sessions of the same subject where it may have one only."""
        self.lifetimes.follow(session, client.identity)
        if self.single is not None and client.identity.subject:
            self.single.opened(session)
            self.tell_opened(client.identity.subject, client.id)

    def forget_welcomes(self) -> None:
        """Call when the limits have changed: clients that come are told the new ones."""
        self._welcomes.clear()

    def _welcome(self, visitor: Visitor) -> messages.Welcomes:
        shared = self._limits.shown(visitor)
        found = self._welcomes.get(tuple(shared))
        if found is None:
            found = self._welcomes[tuple(shared)] = messages.Welcomes(self._config, shared)
        return found

    # ---- the end

    async def cancel_openings(self) -> None:
        """Cancels every ``subscribe`` that still waits for an instrument to open, and every token that is still being checked."""
        self.lifetimes.stop()
        await self._renewals.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send_drain(self, session: Session, reconnect_after_ms: int, deadline_ms: int) -> None:
        self._send(session, messages.drain(reconnect_after_ms, deadline_ms))

    def _end_subscriptions(self, core: Instrument, reason: str) -> None:
        """Ends every subscription to an instrument and tells each client why."""
        for session in self:
            self._end(session, [topic for topic in session.sink.topics() if topic.instrument is core], reason)

    def _end(self, session: Session, topics: Sequence[Topic], reason: str) -> None:
        """Ends subscriptions of a client, and tells it."""
        for topic in topics:
            self._hub.unsubscribe(session.sink, topic)
        if topics:
            self._tally(session)
            self._count_ends(session, [topic.number for topic in topics])
            self._send(session, messages.unsubscribed(UNSET, [topic.number for topic in topics], reason))

    def end_not_entitled(self, session: Session) -> None:
        """Call when a client's entitlements have changed: ends what they no longer allow, and tells the client."""
        ended = no_longer_allowed(
            _client(session).identity.entitlements, session.sink.topics(), self._config.delay_ms
        )
        self._end(session, ended, ErrorCode.NOT_ENTITLED.value)

    # ---- usage

    def _count_begin(self, session: Session, topic: Topic) -> None:
        if self._usage is None:
            return
        client = _client(session)
        part = part_of(
            client.identity.subject, topic.instrument.name, topic.channel, topic.depth, self._config.delay_ms
        )
        self._usage.begin(part)
        if client.parts is None:
            client.parts = {}
        client.parts[topic.number] = part

    def _count_ends(self, session: Session, subs: Iterable[int] | None = None) -> None:
        """Of these subscriptions, or of all."""
        parts = _client(session).parts
        if self._usage is not None and parts is not None:
            for sub in list(parts) if subs is None else subs:
                if (part := parts.pop(sub, None)) is not None:  # it may have ended between two steps
                    self._usage.end(part)

    # ---- one command

    def _answer_all(self, session: Session, payload: bytes) -> Steps:
        """A step for each command, and for each subscription. Nothing more is decoded or answered once the session has ended."""
        try:
            self._charge(session, Cost.DECODED_BYTES, len(payload))
            for command in self._reader.read_message(session.format, payload):
                yield from self._answer(session, command) or ()
                if not session.open:
                    return
                yield
        except CommandError as error:
            self._refuse(session, UNSET, error)

    def _answer(self, session: Session, command: Command | BadCommand) -> Steps | None:
        """Answers, or returns the steps of the answer, which refuse nothing any more."""
        try:
            self._charge(session, Cost.COMMANDS)
            if isinstance(command, BadCommand):
                raise command.error
            op, answer = self._answers[type(command)]
            self.commands_total[op] += 1
            return answer(session, command)
        except CommandError as error:
            self._refuse(session, command.id, error)
            return None

    def _charge(self, session: Session, cost: Cost, amount: float = 1) -> None:
        """Raises CommandError ``rate_limited`` if a budget is spent; call it before the work."""
        _client(session).budgets.charge(cost, amount)

    def _charge_work(self, session: Session, work: costs.Work) -> None:
        self._charge(session, Cost.LEVELS, work.read)
        self._charge(session, Cost.ANSWER_BYTES, work.answer_bytes(session.format))

    def _refuse(self, session: Session, id: CommandId, error: CommandError) -> None:
        """Sends ``error`` and takes one from the error budget; closes a session that has spent its budget."""
        self.errors_total[error.code] += 1
        log.debug("session %s: a command is refused, %s: %s", _client(session).id, error.code, error)
        self._send(session, messages.error(id, error.code, str(error)))
        if isinstance(error, OverBudget):
            self.limited_total[error.cost] += 1
            self._limited(session, f"session_{error.cost}_per_second")
        client = _client(session)
        if error.code in _AUDITED:
            self._audit.refused(
                "command", error.why, client.address, client.identity.subject, session=client.id
            )
        if client.budgets.charge_error():
            return
        self._limited(session, "session_errors")
        if error.code == ErrorCode.RATE_LIMITED:
            session.close(CloseCode.RATE_LIMIT, "beyond the rate limits, again and again")
        else:
            session.close(CloseCode.ERROR_BUDGET, "too many commands failed")

    def _limited(self, session: Session, kind: str) -> None:
        client = _client(session)
        self._audit.limited(
            kind, session=client.id, subject=client.identity.subject or None, address=client.address
        )

    def _ping(self, session: Session, command: Ping) -> None:
        try:
            answer = messages.encode(session.format, messages.pong(command.id, command.data, self._wall_us()))
            self._charge(session, Cost.ANSWER_BYTES, len(answer))
            session.send_control(answer)
        except (ValueError, RecursionError, OverflowError):
            raise CommandError(ErrorCode.BAD_VALUE, "data cannot be echoed: it is nested too deep") from None

    def _auth(self, session: Session, command: Auth) -> None:
        self._renewals.start(session, command, _client(session).identity.subject)

    def _renewed(self, session: Session, command: Auth, identity: Identity) -> None:
        """A fresh token of the same subject."""
        _client(session).identity = identity
        self.lifetimes.follow(session, identity)
        self._send(session, messages.authenticated(command.id, identity.expires_us))
        self.end_not_entitled(session)

    def _refuse_auth(self, session: Session, command: Auth, error: CommandError) -> None:
        self._refuse(session, command.id, error)

    def _tell_expiring(self, session: Session, identity: Identity) -> None:
        self._send(session, messages.token_expiring(identity.expires_us))

    def _recover(self, session: Session, command: Recover) -> None:
        topic = self._hub.find(session.sink, command.sub)
        if topic is None:
            raise _unknown_sub(command.sub)
        check_topic(_client(session).identity.entitlements, topic, self._config.delay_ms)
        no_book = topic.channel != Channel.TRADES and topic.seq == 0
        if no_book or not self._instruments.is_shown(session.sink, topic):
            raise CommandError(
                ErrorCode.UNAVAILABLE, f"{topic.instrument.name} is still opening; its data will follow"
            )
        since = command.from_seq - 1 if 0 < command.from_seq <= topic.seq else None
        work = costs.of_answer(topic.instrument, topic.channel, topic.depth, topic.group, since)
        read = self._hub.recover_work(session.sink, topic, command.from_seq)
        self._charge_work(session, work._replace(read=read))
        self._hub.recover(session.sink, topic, command.from_seq)

    def _unsubscribe(self, session: Session, command: Unsubscribe) -> Steps:
        topics = {topic.number: topic for topic in session.sink.topics()}
        for sub in command.subs:
            if sub not in topics:
                raise _unknown_sub(sub)
        return self._unsubscribe_each(session, command, [topics[sub] for sub in command.subs])

    def _unsubscribe_each(self, session: Session, command: Unsubscribe, topics: list[Topic]) -> Steps:
        for topic in topics:
            self._hub.unsubscribe(session.sink, topic)
            self._count_ends(session, (topic.number,))
            yield
        self._tally(session)
        self._send(session, messages.unsubscribed(command.id, command.subs, "requested"))

    # ---- subscribe

    def _subscribe(self, session: Session, command: Subscribe) -> Steps | None:
        self._check_entitled(session, command)
        found = self._instruments.find_all(command.instruments, command.channel, command.resume)
        if found is not None:
            return self._commit(session, command, found)
        self._check_room(session, command)
        command.check_names()
        self._charge(session, Cost.LEVELS, costs.WAIT_LEVELS * len(command.resume))
        self._open_later(session, command)
        return None

    def _check_entitled(self, session: Session, command: Subscribe) -> None:
        """Raises CommandError ``not_entitled``."""
        check_subscribe(_client(session).identity.entitlements, command, self._config.delay_ms)

    def _open_later(self, session: Session, command: Subscribe) -> None:
        _client(session).opening += len(command.instruments)
        self._tally(session)
        task = asyncio.get_running_loop().create_task(self._open_and_commit(session, command))
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

    async def _open_and_commit(self, session: Session, command: Subscribe) -> None:
        try:
            found = await self._instruments.open(
                command.instruments,
                command.channel,
                command.resume,
                asker=self._asker_of(session),
                may_see=_client(session).identity.entitlements.may_see,
            )
        except CommandError as error:
            if session.open:
                self._refuse(session, command.id, error)
            return
        finally:
            _client(session).opening -= len(command.instruments)
            self._tally(session)
        if session.open:
            self._commit_later(session, command, found)

    def _commit_later(self, session: Session, command: Subscribe, found: list[OpenInstrument]) -> None:
        self._hub.cork()
        try:
            self._check_entitled(session, command)  # what is allowed may have changed
            self.turns.run(session, self._commit(session, command, found))
        except CommandError as error:
            self._refuse(session, command.id, error)
        finally:
            self._hub.uncork()

    def _commit(self, session: Session, command: Subscribe, found: Sequence[OpenInstrument]) -> Steps:
        """The steps that subscribe to each; or raises CommandError, and subscribes to none."""
        self._check_room(session, command)
        for instrument in found:
            self._grouped.check_instrument(instrument, command)
        self._charge_work(session, _work_of(command, found))
        _client(session).opening += len(found)
        self._tally(session)
        return self._subscribe_each(session, command, found)

    def _subscribe_each(self, session: Session, command: Subscribe, found: Sequence[OpenInstrument]) -> Steps:
        client = _client(session)
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
                self._open_later(session, rest)
                return
            client.opening -= 1
            self._subscribe_one(session, command, instrument)
            yield
        self._tally(session)

    def _is_forbidden(self, session: Session, command: Subscribe, left: int) -> bool:
        """Whether a new token no longer allows a command of which some steps are left; the client is told."""
        try:
            self._check_entitled(session, command)
        except CommandError as error:
            _client(session).opening -= left
            self._tally(session)
            self._refuse(session, command.id, error)
            return True
        return False

    def _tally(self, session: Session) -> None:
        """Tells the limits of address and user how many subscriptions the client has, those included that are not made yet."""
        client = _client(session)
        self._limits.subscribed(client.visitor, session.sink.subscriptions + client.opening)

    def _check_room(self, session: Session, command: Subscribe) -> None:
        """Raises CommandError ``limit_subscriptions`` if the client may not have so many."""
        most = self._config.max_subscriptions
        wanted = session.sink.subscriptions + _client(session).opening + len(command.instruments)
        visitor = _client(session).visitor
        has_room = self._limits.has_room(visitor, len(command.instruments))
        if wanted <= most and has_room and command.group == 1:
            return
        self._charge(session, Cost.LEVELS, session.sink.subscriptions)
        topics = session.sink.topics()
        have = {
            t.instrument.name for t in topics if (t.channel, t.depth, t.group, t.interval_ms) == command.view
        }
        new = sum(name not in have for name in command.instruments)
        if command.group != 1:
            self._grouped.check_client(session.sink.grouped, new)
        if new and len(topics) + _client(session).opening + new > most:
            self._limited(session, "session_subscriptions")
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{len(topics)} of {most} subscriptions are in use; {new} more are too many",
            )
        if new and (why := self._limits.check_room(visitor, new)):
            raise CommandError(ErrorCode.LIMIT_SUBSCRIPTIONS, why)

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
        if resumed is not None:
            self._count_begin(session, topic)
        if resumed is None:
            # The client is subscribed already: its data continues where it is.
            session.send_control(answer)
        else:
            self._instruments.begin(session.sink, topic, instrument, answer, resume)

    def _send(self, session: Session, message: messages.Message) -> None:
        session.send_control(messages.encode(session.format, message))


def _asker(session: Session) -> Hashable:
    visitor = _client(session).visitor
    return visitor.user or visitor.place or session


def _work_of(command: Subscribe, found: Sequence[OpenInstrument]) -> costs.Work:
    work = costs.NOTHING
    for instrument in found:
        resume = command.resume.get(instrument.name)
        since = resume[1] if resume and resume[0] == instrument.core.book.epoch else None
        work += costs.of_answer(instrument.core, command.channel, command.depth, command.group, since)
    return work


def _client(session: Session) -> _Client:
    client = session.context
    assert isinstance(client, _Client)
    return client


def _unknown_sub(sub: int) -> CommandError:
    return CommandError(ErrorCode.UNKNOWN_SUB, f"there is no subscription {sub} in this session")
