"""Answers the commands of all clients: one ``Sessions`` for all of them, a small ``Client`` for each.

Every command is answered in its turn, in the order in which they came, except a ``subscribe`` to an instrument that must first be opened:
a client's later commands do not wait for it. What takes long is done in slices, see ``turns``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from mdstream._core.entry.arrivals import Arrivals
from mdstream._core.entry.departures import Departures
from mdstream._core.entry.load_state import LoadState
from mdstream._core.entry.usual_subscribe import UsualSubscribes
from mdstream._core.entry.visitor import Visitor
from mdstream.auth.identity import NOBODY, Identity
from mdstream.auth.revocations import Revocations
from mdstream.codes import CloseCode, ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import costs, messages
from mdstream.gateway.activity import Activity
from mdstream.gateway.addresses import UNKNOWN
from mdstream.gateway.audit import Audit
from mdstream.gateway.budget import Cost, OverBudget, SessionBudgets, allowances_of, beyond
from mdstream.gateway.clients import Client, client_of, tell
from mdstream.gateway.commands import (
    Acknowledge,
    Auth,
    BadCommand,
    Command,
    CommandId,
    CommandReader,
    Ping,
    Publish,
    Recover,
    Subscribe,
    SubscribeCandles,
    SubscribeEvents,
    SubscribeMany,
    Unsubscribe,
)
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.entitled import check_topic, no_longer_allowed
from mdstream.gateway.event_publishing import EventPublishing
from mdstream.gateway.lifetimes import Lifetimes, SingleSessions
from mdstream.gateway.limits import Limits
from mdstream.gateway.map_commands import Put, SubscribeMap, SubscribePresence
from mdstream.gateway.map_subscriptions import OF_MAPS
from mdstream.gateway.overload import Overload
from mdstream.gateway.overviews import OF_MANY
from mdstream.gateway.renewals import Renewals
from mdstream.gateway.sockets import peer_of
from mdstream.gateway.subscriptions import Subscriptions, unknown_sub
from mdstream.gateway.turns import Steps, Turns
from mdstream.gateway.usage import Usage
from mdstream.model import Channel, State

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.net.session import Session
    from mdstream.auth.authenticator import Authenticator
    from mdstream.gateway.open_instruments import OpenInstruments

log = logging.getLogger("mdstream.gateway.sessions")

_AUDITED = (ErrorCode.NOT_ENTITLED, ErrorCode.UNAUTHORIZED)
"""Refusals of commands that the audit log tells."""
_OF_ONE = frozenset((Channel.BOOK, Channel.TRADES, Channel.TICKER, Channel.CANDLES))
"""Channels whose subscription is to one instrument."""
UNWELCOME = object()
"""``Session.context`` of a client that is let in only to be told that it is unauthorized."""


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
        unchecked: Callable[[], str | None] = lambda: None,
        limits: Limits | None = None,
        load: LoadState | None = None,
        usage: Usage | None = None,
        activity: Activity | None = None,
    ) -> None:
        """``asker_of``: for whom a session opens instruments; askers take turns. By default the user,
        else the address, else the session. ``unchecked``: why no fresh token can be checked now, None if it can."""
        self._config = config
        self._audit = audit or Audit()
        self._limits = limits or Limits(config, now_s)
        load = load or Overload()
        self._hub = hub
        self._instruments = instruments
        self._reader = CommandReader(config)
        self._wall_us = wall_us
        self._now_s = now_s
        self.turns = turns or Turns(hub)
        self._open: dict[Session, None] = {}
        """In the order in which they came."""
        self.lifetimes = Lifetimes(
            self,
            Revocations(wall_us) if revocations is None else revocations,
            member=client_of,
            tell_expiring=self._tell_expiring,
            tell_revoked=lambda what, member: self._audit.revoked(what, member.id, member.identity),
            now_s=now_s,
        )
        self.single = SingleSessions(client_of, now_s) if config.auth_single_session else None
        self.tell_opened: Callable[[str, str, int], None] = lambda subject, session, line: None
        """Called with subject, session and line where a subject may have one session only."""
        self._renewals = Renewals(authenticator, unchecked, take=self._renewed, refuse=self._refuse_auth)
        self.subscriptions = Subscriptions(
            config,
            hub,
            instruments,
            self,
            limits=self._limits,
            load=load,
            usage=usage,
            activity=activity,
            asker_of=asker_of,
            wall_us=wall_us,
        )
        self.publishing = EventPublishing(
            config, self.subscriptions.event_topics, self.subscriptions, hub, now_s
        )
        self._answers: dict[type, tuple[str, Callable[[Session, Any], Steps | None]]] = {
            Subscribe: ("subscribe", self.subscriptions.subscribe),
            SubscribeMany: ("subscribe", self.subscriptions.subscribe_many),
            SubscribeCandles: ("subscribe", self.subscriptions.subscribe_candles),
            SubscribeMap: ("subscribe", self.subscriptions.subscribe_map),
            SubscribePresence: ("subscribe", self.subscriptions.subscribe_map),
            Put: ("put", self.subscriptions.maps.puts.put),
            SubscribeEvents: ("subscribe", self.subscriptions.subscribe_events),
            Unsubscribe: ("unsubscribe", self.subscriptions.unsubscribe),
            Recover: ("recover", self._recover),
            Acknowledge: ("ack", self.subscriptions.events.acknowledge),
            Publish: ("publish", self.publishing.publish),
            Auth: ("auth", self._auth),
            Ping: ("ping", self._ping),
        }
        self.commands_total: Counter[str] = Counter()
        self.errors_total: Counter[str] = Counter()
        self.closes_total: Counter[int] = Counter()
        self._arrivals = Arrivals(
            self,
            self._limits,
            load,
            self._audit,
            self._open,
            make_client=Client,
            make_budgets=SessionBudgets,
            allowances=allowances_of(config),
            nobody=NOBODY,
            now_s=now_s,
            wall_us=wall_us,
        )
        self._departures = Departures(
            self,
            self._limits,
            self.closes_total,
            self._open,
            kept=(
                self.turns._waiting,
                self._renewals.kept,
                self.subscriptions.maps.kept,
                self.subscriptions.maps.puts.kept,
                self.subscriptions.events.followers.kept,
            ),
            all_unusual=self.single is not None or activity is not None,
        )
        self._note_level()
        usual = UsualSubscribes(
            self,
            self.subscriptions,
            instruments,
            self._limits,
            load,
            hub,
            known=self._reader.usual,
            most=config.max_subscriptions,
            no_id=UNSET,
            live=State.LIVE,
        )
        self.opened: Callable[[Session], None] = (
            self._arrivals.opened if activity is None else partial(self._opened, activity)
        )
        """``session.context`` is who came; nobody is meant where there is none."""
        self.received: Callable[[Session, bytes], None] = usual.received
        """Answers one WebSocket message, now or in slices; raises nothing, whatever the message holds."""
        self.closed: Callable[[Session, int], None] = self._departures.closed

    @property
    def opened_total(self) -> int:
        """Clients that were let in."""
        return self._arrivals.total

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, session: object) -> bool:
        return session in self._open

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._open))

    def newest_first(self) -> Iterator[Session]:
        return iter(list(reversed(self._open)))

    # ---- the callbacks of a session

    def visitor_of(self, session: Session) -> Visitor | None:
        """Of a session whose context is none: nobody is meant, or None, and it is told that it is unwelcome."""
        if session.context is not UNWELCOME:
            return Visitor(UNKNOWN, NOBODY)
        tell(session, messages.error(UNSET, ErrorCode.UNAUTHORIZED, "a valid credential is needed"))
        session.close(CloseCode.TOKEN_EXPIRED, "unauthorized")
        return None

    def _opened(self, activity: Activity, session: Session) -> None:
        self._arrivals.opened(session)
        if session in self._open:
            client = client_of(session)
            activity.opened(client.id, client.identity.subject, client.identity.method)

    def log_opened(self, session: Session, client: Client) -> None:
        log.debug("session %s: connected from %s", client.id, peer_of(session.transport))

    def _note_level(self) -> None:
        self._arrivals.are_logged = self._departures.are_logged = log.isEnabledFor(logging.DEBUG)

    def answer(self, session: Session, payload: bytes) -> None:
        """Any message."""
        self.turns.run(session, self.steps_of(session, payload))

    def limited(self, session: Session, kind: str) -> None:
        """The core has refused what a client sent: ``decoded_bytes``, a message; ``control_frames``, pings that are not all answered;
        ``unread_bytes``, it is closed because it reads nothing."""
        if session not in self._open:
            return
        if kind == Cost.DECODED_BYTES:
            self.turns.run(session, self._refuse_unread(session))
        else:
            self.limit_reached(session, kind)

    def _refuse_unread(self, session: Session) -> Steps:
        """Refusing takes its part of a turn, too: a read may hold a thousand messages that are refused."""
        self.refuse(session, UNSET, beyond(Cost.DECODED_BYTES))
        yield

    def end(self, session: Session, code: int) -> None:
        """One that was open has ended: so does all that is kept of it."""
        client = client_of(session)
        del self._open[session]
        self.turns.forget(session)
        for task in client.tasks or ():
            self.turns.cancels.add(task.cancel)
        self._limits.left(client.visitor)
        self.subscriptions.count_ends(session)
        self.subscriptions.maps.closed(session)
        self._renewals.forget(session)
        if self.single is not None:
            self.single.closed(session)
        if self.subscriptions.activity is not None:
            self.subscriptions.activity.closed(client.id, client.identity.subject, code)
        log.debug("session %s: closed with %d", client.id, code)

    def follow(self, session: Session, client: Client) -> None:
        """Ends it with its credential, and older sessions of the same subject where it may have one only."""
        self._audit.login(client.id, client.identity, client.address)
        self.subscriptions.maps.alert_rights.seen(client.identity)
        if self.single is None and client.identity.expires_at_s == inf:
            return
        self.lifetimes.follow(session, client.identity)
        if self.single is not None and client.identity.subject:
            self.single.opened(session)
            self.tell_opened(client.identity.subject, client.id, client.line)

    def forget_welcomes(self) -> None:
        """Call when the limits have changed: clients that come are told the new ones."""
        self._arrivals.forget_welcomes()

    def make_welcome(self, visitor: Visitor, is_well: bool) -> messages.Welcomes:
        """For clients that have shares of the same limits as this one."""
        healthy_ms = messages.HEALTHY_MS if is_well else messages.UNWELL_MS
        return messages.Welcomes(self._config, self._limits.shown(visitor), healthy_ms)

    @property
    def grouped_bytes(self) -> int:
        """Memory of all grouped views."""
        return self.subscriptions.grouped_bytes

    def sweep(self) -> None:
        """Call about once a second."""
        self._note_level()
        self.subscriptions.sweep()

    # ---- the end

    async def leave(self) -> None:
        """The gateway ends: so does the presence of its sessions."""
        await self.subscriptions.maps.close()

    async def cancel_openings(self) -> None:
        """Cancels every ``subscribe`` that still waits for an instrument to open, and every token that is still being checked."""
        self.lifetimes.stop()
        await self._renewals.stop()
        await self.publishing.close()
        await self.subscriptions.cancel_openings()

    def send_drain(self, session: Session, reconnect_after_ms: int, deadline_ms: int) -> None:
        tell(session, messages.drain(reconnect_after_ms, deadline_ms))

    def end_not_entitled(self, session: Session) -> None:
        """Call when a client's entitlements have changed: ends what they no longer allow, and tells the client."""
        topics = [topic for topic in session.sink.topics() if topic.channel in _OF_ONE]
        ended = no_longer_allowed(client_of(session).identity.entitlements, topics, self._config.delay_ms)
        self.subscriptions.end(session, ended, ErrorCode.NOT_ENTITLED.value)
        self.subscriptions.overviews.end_forbidden(session)
        self.subscriptions.events.end_forbidden(session)
        self.subscriptions.maps.end_forbidden(session)

    # ---- one command

    def steps_of(self, session: Session, payload: bytes) -> Steps:
        """A step for each command, and for each subscription. Nothing more is decoded or answered once the session has ended."""
        try:
            client_of(session).budgets.charge_message(len(payload))
            for command in self._reader.read_message(session.format, payload):
                try:
                    steps = self._answer(session, command)
                    if steps is not None:
                        yield from steps
                except CommandError as error:
                    self.refuse(session, command.id, error)
                if not session.open:
                    return
                yield
        except CommandError as error:
            self.refuse(session, UNSET, error)

    def _answer(self, session: Session, command: Command | BadCommand) -> Steps | None:
        """Answers, or returns the steps of the answer. Raises CommandError, as its steps may."""
        client_of(session).budgets.charge_command()
        if isinstance(command, BadCommand):
            self.refuse(session, command.id, command.error)
            return None
        op, answer = self._answers[type(command)]
        self.commands_total[op] += 1
        return answer(session, command)

    def refuse(self, session: Session, id: CommandId, error: CommandError) -> None:
        """Sends ``error`` and takes one from the error budget; closes a session that has spent its budget."""
        self.errors_total[error.code] += 1
        log.debug("session %s: a command is refused, %s: %s", client_of(session).id, error.code, error)
        tell(session, messages.error(id, error.code, str(error)))
        if isinstance(error, OverBudget):
            self.limit_reached(session, error.cost)
        client = client_of(session)
        if error.code in _AUDITED:
            self._audit.refused(
                "command", error.why, client.address, client.identity.subject, session=client.id
            )
        if error.code == ErrorCode.UNAVAILABLE or client.budgets.charge_error():
            return  # what this gateway cannot do just now is no fault of the client
        self.limit_reached(session, "errors")
        if error.code == ErrorCode.RATE_LIMITED:
            session.close(CloseCode.RATE_LIMIT, "beyond the rate limits, again and again")
        else:
            session.close(CloseCode.ERROR_BUDGET, "too many commands failed")

    def limit_reached(self, session: Session, limit: str) -> None:
        client = client_of(session)
        self._audit.limited(
            "session",
            limit,
            session=client.id,
            subject=client.identity.subject or None,
            address=client.address,
        )

    def _ping(self, session: Session, command: Ping) -> None:
        try:
            answer = messages.encode(session.format, messages.pong(command.id, command.data, self._wall_us()))
            cost = costs.weighed(len(answer), session.sink.compresses)
            client_of(session).budgets.charge(Cost.ANSWER_BYTES, cost)
            session.send_control(answer)
        except (ValueError, RecursionError, OverflowError):
            raise CommandError(ErrorCode.BAD_VALUE, "data cannot be echoed: it is nested too deep") from None

    def _auth(self, session: Session, command: Auth) -> None:
        self._renewals.start(session, command, client_of(session).identity.subject)

    def _renewed(self, session: Session, command: Auth, identity: Identity) -> None:
        """A fresh token of the same subject."""
        client_of(session).identity = identity
        self.subscriptions.maps.alert_rights.seen(identity)
        self.lifetimes.follow(session, identity)
        tell(session, messages.authenticated(command.id, identity.expires_us))
        self.end_not_entitled(session)

    def _refuse_auth(self, session: Session, command: Auth, error: CommandError) -> None:
        self.refuse(session, command.id, error)

    def _tell_expiring(self, session: Session, identity: Identity) -> None:
        tell(session, messages.token_expiring(identity.expires_us))

    def _recover(self, session: Session, command: Recover) -> None:
        topic = self._hub.find(session.sink, command.sub)
        if topic is None:
            raise unknown_sub(command.sub)
        if topic.channel in OF_MANY:
            self.subscriptions.overviews.recover(session, topic, command.from_seq)
            return
        if topic.channel in OF_MAPS:
            self.subscriptions.maps.recover(session, topic, command.from_seq)
            return
        if topic.channel == Channel.EVENTS:
            self.subscriptions.events.recover(session, topic, command)
            return
        check_topic(client_of(session).identity.entitlements, topic, self._config.delay_ms)
        if topic.channel == Channel.CANDLES:
            self.subscriptions.candles.recover(session, topic, command.from_seq)
            return
        no_book = topic.channel != Channel.TRADES and topic.seq == 0
        if no_book or not self._instruments.is_shown(session.sink, topic):
            raise CommandError(
                ErrorCode.UNAVAILABLE, f"{topic.instrument.name} is still opening; its data will follow"
            )
        since = command.from_seq - 1 if 0 < command.from_seq <= topic.seq else None
        work = costs.of_answer(topic.instrument, topic.channel, topic.depth, topic.group, since)
        read = self._hub.recover_work(session.sink, topic, command.from_seq)
        size = work.answer_bytes(session.format, session.sink.compresses)
        client_of(session).charge_answer(read, size)
        self._hub.recover(session.sink, topic, command.from_seq)
