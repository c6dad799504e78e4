"""The connection's state machine, without I/O: events and times go in, actions come out.

Its driver calls ``start dialed dial_failed received closed authenticate tick close``. After each call, and after ``wake``, it carries
out ``take_actions()``. It calls ``tick`` at ``deadline()``. Times are seconds of a monotonic clock; ``wall_us`` is this
machine's time in µs since the Unix epoch, and only measures latency.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from mdstream.client import events, protocol
from mdstream.client.actions import Action, DialNow, HangUp, RenewToken, Send
from mdstream.client.backoff import Backoff, Contest
from mdstream.client.health import Health
from mdstream.client.observers import Observer, notify, notify_all, register
from mdstream.client.policy import FINAL_STATUSES, TEMPORARY_ERRORS, Policy
from mdstream.client.protocol import Codec, Command, Request
from mdstream.client.states import ConnectionState, Stats
from mdstream.client.subscription import StreamEvent, Subscription, batches
from mdstream.client.urls import Urls
from mdstream.codes import FINAL_CLOSE_CODES, OVERLOAD, RESCALED, CloseCode, ErrorCode
from mdstream.errors import (
    ClientError,
    ConnectionFailed,
    ConnectionLost,
    HandshakeRefused,
    ProtocolViolation,
    SubscriptionRefused,
)
from mdstream.printable import printable

log = logging.getLogger(__name__)


class ClientCore:
    """One client: at most one connection at a time, and the subscriptions, which continue over several connections."""

    def __init__(
        self,
        make_codec: Callable[[], Codec],
        *,
        random: Callable[[], float],
        urls: Sequence[str] = ("",),
        policy: Policy | None = None,
        renewable: bool = False,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.policy = policy or Policy()
        self.random = random
        self.stats = Stats()
        self.state = ConnectionState.IDLE
        self.reason: str | None = None
        """Why the client is not open, if that is known."""
        self.error: ClientError | None = None
        """The error that closed the client for good; None if the user closed it."""
        self.welcome: events.Welcome | None = None
        self._make_codec = make_codec
        self.codec = make_codec()
        self._urls = Urls(urls)
        self._renewable = renewable
        self._wake = wake
        self.token_refused = False
        """Whether the next connection must not bring the token of the last one."""
        self._backoff = Backoff.of(random, self.policy)
        self._contest = Contest(self.policy)
        self._actions: list[Action] = []
        self._ids = count(1)
        self._asked: dict[int, list[Subscription]] = {}
        self._recovering: dict[int, Subscription] = {}
        self._pings: dict[int, Callable[[float | None], object]] = {}
        self._calls: dict[int, Callable[[events.Answer], object]] = {}
        self._acks: dict[Subscription, int] = {}
        self._acks_at = 0.0
        """When acknowledgements may be sent again."""
        self._subscriptions: dict[Request, Subscription] = {}
        self._by_number: dict[int, Subscription] = {}
        self._ever_open = False
        self._connected = False
        self._health = Health(self.policy.healthy_after_s)
        self._heard_at = 0.0
        self._dial_at: float | None = None
        self._leave_at: float | None = None
        self._earliest: float | None = None
        self._state_observers: list[Observer[ConnectionState]] = []
        self._payload_observers: list[Observer[bytes]] = []

    # ---- for the user

    @property
    def url(self) -> str:
        """The gateway of the present connection, or of the next try."""
        return self._urls.current

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        return tuple(self._subscriptions.values())

    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        return register(self._state_observers, observer)

    def on_payload(self, observer: Observer[bytes]) -> Callable[[], None]:
        """Calls ``observer(payload)`` with each WebSocket message before the client handles it."""
        return register(self._payload_observers, observer)

    def find(self, request: Request) -> Subscription | None:
        return self._subscriptions.get(request)

    def subscribe(self, subscription: Subscription, now: float) -> None:
        """Adds a subscription, and sends ``subscribe`` as soon as there is a connection."""
        self._subscriptions[subscription.request] = subscription
        if self.state is ConnectionState.CLOSED:
            subscription.end(self.error)
        elif self.state in (ConnectionState.OPEN, ConnectionState.DRAINING):
            self._request([subscription])

    def release(self, subscription: Subscription) -> None:
        """Another line has it from now on. Call while there is no connection here."""
        self._forget(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Ends a subscription; ignores what the gateway still sends for it."""
        number = subscription.number
        self._send_acks()
        self._forget(subscription)
        subscription.end(None)
        if number is not None:
            self._command(protocol.unsubscribe(next(self._ids), [number]))

    def ping(self, answered: Callable[[float | None], object]) -> None:
        """Sends ``ping``; calls ``answered(now)`` at the answer, or ``answered(None)`` if the connection is lost."""
        if self.welcome is None:
            notify(answered, None)
            return
        id = next(self._ids)
        self._pings[id] = answered
        self._command(protocol.ping(id))

    def call(self, make: Callable[[int], Command], answered: Callable[[events.Answer], object]) -> None:
        """Sends the command that ``make`` returns for an id; calls ``answered`` with the answer, or with None if the connection is lost
        before."""
        if not self._connected or self.welcome is None:
            notify(answered, None)
            return
        id = next(self._ids)
        self._calls[id] = answered
        self._command(make(id))

    def publish(
        self, topic: str, event: str, data: Any, key: str, answered: Callable[[events.Answer], object]
    ) -> None:
        """As ``call``, an event."""
        self.call(lambda number: protocol.publish(number, topic, event, data, key), answered)

    # ---- for the driver

    def take_actions(self) -> list[Action]:
        """Returns the actions to carry out now, in order, each only once."""
        actions, self._actions = self._actions, []
        return actions

    def deadline(self) -> float | None:
        """When the driver must call ``tick`` next; ``tick`` may find nothing due then."""
        return self._earliest

    def start(self, now: float) -> None:
        self._dial(now)

    def dialed(self, now: float) -> None:
        """The upgrade has succeeded; ``welcome`` comes next."""
        self._connected = True
        self._heard_at = now
        self._health.opened(now)
        self.due(now + self.policy.connect_timeout_s)

    def dial_failed(self, error: ClientError, now: float) -> None:
        status = error.status if isinstance(error, HandshakeRefused) else None
        if status == 401:
            self._renew_token(error, now)
            return
        # A path that was there is missing while a proxy restarts.
        self._urls.failed(final=status in FINAL_STATUSES and not (status == 404 and self._ever_open))
        floor = error.retry_after_s if isinstance(error, HandshakeRefused) else None
        self._try_again(error, str(error), now, floor_s=floor or 0.0)

    def received(self, payload: bytes, now: float, wall_us: int) -> None:
        """One WebSocket message."""
        self.stats.messages += 1
        self.stats.bytes += len(payload)
        self._heard_at = now
        notify_all(self._payload_observers, payload)
        try:
            for event in self.codec.decode(payload):
                self._handle(event, now, wall_us)
        except ProtocolViolation as error:
            log.warning("the gateway broke the contract: %s", error)
            self._leave(CloseCode.NORMAL, f"contract broken: {error}", now)

    def closed(self, code: int, reason: str, now: float) -> None:
        """The connection is gone, with the peer's close frame or without one (1006)."""
        why = f"closed with {code}" + (f": {reason}" if reason else "")
        self._connected = False
        if code == CloseCode.TOKEN_EXPIRED:
            self._renew_token(ConnectionLost(f"the connection was {why}", code=code), now)
        elif code in FINAL_CLOSE_CODES or (code == CloseCode.REPLACED and self._contest.is_lost(now)):
            self._close(ConnectionLost(f"the connection was {why}", code=code))
        else:
            self._lost(why, now)

    def authenticate(self, token: str) -> None:
        """A fresh token for the present connection."""
        self._command(protocol.auth(next(self._ids), token))

    def tick(self, now: float) -> None:
        """Does what is due; may be called at any time."""
        silence_deadline = self._silence_deadline()
        if silence_deadline is not None and now >= silence_deadline:
            self._silent(now)
        elif self._leave_at is not None and now >= self._leave_at and self._connected:
            self._leave(CloseCode.GOING_AWAY, "the gateway is draining", now)
        elif self._dial_at is not None and now >= self._dial_at:
            self._dial(now)
        for subscription in self.subscriptions:
            subscription.tick(now)
            if subscription.retry_at is not None and now >= subscription.retry_at:
                self._request([subscription])
        times = [t for s in self._subscriptions.values() for t in (s.deadline, s.retry_at) if t is not None]
        times += [t for t in (self._dial_at, self._leave_at, self._silence_deadline()) if t is not None]
        self._earliest = min(times, default=None)

    def close(self) -> None:
        """The user closes the client."""
        self._close(None)

    # ---- for the subscriptions

    def due(self, when: float) -> None:
        """Makes sure that ``tick`` is called at this time."""
        if self._earliest is None or when < self._earliest:
            self._earliest = when

    def send_recover(self, subscription: Subscription, from_seq: int) -> None:
        if subscription.number is None:
            return
        self.stats.recoveries += 1
        id = next(self._ids)
        self._recovering[id] = subscription
        while len(self._recovering) > 1024:
            del self._recovering[next(iter(self._recovering))]
        self._command(protocol.recover(id, subscription.number, from_seq))

    def send_ack(self, subscription: Subscription, seq: int) -> None:
        """Soon: what follows within ``policy.acknowledge_s`` is acknowledged together."""
        self._acks[subscription] = seq
        self._wake()

    def flush_acks(self, now: float) -> None:
        """The driver calls it before ``take_actions``."""
        if not self._acks:
            return
        if now < self._acks_at:
            self.due(self._acks_at)
            return
        self._acks_at = now + self.policy.acknowledge_s
        self._send_acks()

    def _send_acks(self) -> None:
        acks, self._acks = self._acks, {}
        for subscription, seq in acks.items():
            if subscription.number is not None:
                self._command(protocol.acknowledge(subscription.number, seq))

    # ---- messages

    def _handle(self, event: events.Event, now: float, wall_us: int) -> None:
        if not self._connected:
            return
        if self.welcome is None and not isinstance(event, events.Welcome):
            if isinstance(event, events.Refused) and event.before_welcome:
                return
            raise ProtocolViolation(f"the first message was {type(event).__name__.lower()}, not welcome")
        match event:
            case events.Delta() | events.Snapshot() | events.Trades() | events.Ticker() | events.Candles():
                self._take_data(event, now, wall_us)
            case (
                events.BoardSnapshot()
                | events.BoardChange()
                | events.Instruments()
                | events.InstrumentsChanged()
            ):
                self.stats.updates += 1
                self._health.useful = True
                self._take_stream(event, now)
            case events.TopicEvent() | events.MapPage() | events.PresencePage():
                self.stats.updates += 1
                self._health.useful = True
                self._take_stream(event, now)
            case events.BoardNames() | events.Acknowledged() | events.Recovered():
                self._take_stream(event, now)
            case events.Heartbeat():
                self._take_heartbeat(event, now)
            case events.Lost():
                self._take_stream(event, now)
            case events.StateChange():
                if (subscription := self._by_number.get(event.sub)) is not None:
                    subscription.take_state(event, now)
            case events.RefChange():
                if (subscription := self._by_number.get(event.sub)) is not None:
                    subscription.take_ref(event.ref)
            case _:
                self._take_control(event, now)

    def _take_control(self, event: events.Event, now: float) -> None:
        match event:
            case events.Subscribed():
                self._take_subscribed(event, now)
            case events.Refused():
                self._take_refused(event, now)
            case events.Unsubscribed() if event.id is None:
                self._take_unsubscribed(event, now)
            case events.Pong():
                if isinstance(event.id, int) and (answered := self._pings.pop(event.id, None)) is not None:
                    notify(answered, now)
            case events.Published() | events.Stored():
                self._take_answer(event)
            case events.Drain():
                self._leave_at = now + event.reconnect_after_ms / 1000
                self.due(self._leave_at)
                self._set_state(ConnectionState.DRAINING, "the gateway is draining")
            case events.Welcome():
                self._take_welcome(event, now)
            case events.TokenExpiring():
                self._act(RenewToken())

    def _take_welcome(self, event: events.Welcome, now: float) -> None:
        if event.version != protocol.VERSION:
            self._hang_up(CloseCode.NORMAL, "unknown version")
            why = (
                f"the gateway speaks version {event.version} of the contract, this client {protocol.VERSION}"
            )
            self._close(ProtocolViolation(why))
            return
        self.welcome = event
        self._ever_open = True
        self._urls.welcomed()
        self.token_refused = False
        self.due(now + self._silence_limit_s())
        self._set_state(ConnectionState.OPEN, None)
        self._request(self._subscriptions.values())

    def _take_data(self, event: events.Update, now: float, wall_us: int) -> None:
        self.stats.updates += 1
        self._health.useful = True
        if (ts_us := events.live_ts_us(event)) is not None:
            self.stats.note_latency((wall_us - ts_us) / 1000)
        self._take_stream(event, now)

    def _take_stream(self, event: StreamEvent, now: float) -> None:
        if (subscription := self._by_number.get(event.sub)) is not None:
            subscription.take(event, now)

    def _take_heartbeat(self, event: events.Heartbeat, now: float) -> None:
        for sub, seq in zip(event.seqs[::2], event.seqs[1::2], strict=False):
            if (subscription := self._by_number.get(sub)) is not None:
                subscription.take_heartbeat(seq, now)

    def _take_subscribed(self, event: events.Subscribed, now: float) -> None:
        waiting = self._asked.get(event.id, []) if isinstance(event.id, int) else []
        asked = next(
            (
                s
                for s in waiting
                if s.request.is_answered_by(event.instrument or event.topic, event.instruments)
            ),
            None,
        )
        if asked is None:
            log.debug("ignoring subscribed %r, which answers no command", event.id)
            return
        waiting.remove(asked)
        if not waiting:
            self._asked.pop(int(event.id or 0), None)
        subscription = self._subscriptions.get(asked.request)
        if subscription is None:
            self._command(protocol.unsubscribe(next(self._ids), [event.sub]))
        elif not subscription.accepted:
            self._by_number[event.sub] = subscription
            subscription.accept(event, now)

    def _take_answer(self, event: events.Published | events.Stored) -> None:
        answered = self._calls.pop(event.id, None) if isinstance(event.id, int) else None
        if answered is not None:
            notify(answered, event)

    def _take_refused(self, event: events.Refused, now: float) -> None:
        id = event.id if isinstance(event.id, int) else -1
        if (recovering := self._recovering.pop(id, None)) is not None:
            if (
                event.code == ErrorCode.UNKNOWN_SUB
                and self._subscriptions.get(recovering.request) is recovering
            ):
                self._request_again([recovering], "the gateway no longer knows the subscription")
            else:
                recovering.recover_refused(now)
        elif (asked := self._asked.pop(id, None)) is not None:
            self._refuse([s for s in asked if self._subscriptions.get(s.request) is s], event, now)
        elif (answered := self._pings.pop(id, None)) is not None:
            notify(answered, None)
        elif (called := self._calls.pop(id, None)) is not None:
            notify(called, event)
        else:
            said = printable(f"{event.code}: {event.message}")
            log.warning("the gateway refused a command: %s", said)

    def _refuse(self, asked: list[Subscription], event: events.Refused, now: float) -> None:
        """One bad instrument refuses the whole command, so sends one command for each of several instruments."""
        if len(asked) > 1:
            for subscription in asked:
                self._request([subscription])
            return
        for subscription in asked:
            if subscription.ready and event.code in TEMPORARY_ERRORS:
                subscription.retry_later(now)
                continue
            self._forget(subscription)
            message = f"{subscription}: {event.message or event.code}"
            subscription.end(SubscriptionRefused(message, code=event.code))

    def _take_unsubscribed(self, event: events.Unsubscribed, now: float) -> None:
        ended = [s for sub in event.subs if (s := self._by_number.get(sub)) is not None]
        if event.reason == RESCALED:
            for subscription in ended:
                subscription.granted_group = 0
            self._request_again(ended, "its decimals have changed")
            return
        for subscription in ended:
            if event.reason == OVERLOAD:
                self._by_number.pop(subscription.number or 0, None)
                subscription.put_off("the gateway is overloaded", now)
                continue
            self._forget(subscription)
            message = f"{subscription}: the gateway ended it: {event.reason or 'it gave no reason'}"
            subscription.end(SubscriptionRefused(message, code=ErrorCode.NOT_ENTITLED))

    # ---- the connection

    def _dial(self, now: float) -> None:
        self._dial_at = self._leave_at = None
        self.codec = self._make_codec()
        self.welcome = None
        self._set_state(ConnectionState.CONNECTING, self.reason)
        self._act(DialNow())

    def _silence_deadline(self) -> float | None:
        return self._heard_at + self._silence_limit_s() if self._connected else None

    def _silence_limit_s(self) -> float:
        if self.welcome is None:
            return self.policy.connect_timeout_s
        return self.policy.silent_heartbeats * self.welcome.heartbeat_ms / 1000

    def _silent(self, now: float) -> None:
        what = "no welcome" if self.welcome is None else "nothing"
        why = f"{what} came for {now - self._heard_at:.1f} s"
        self._hang_up(CloseCode.GOING_AWAY, why, abort=True)
        self._lost(why, now)

    def _leave(self, code: int, why: str, now: float) -> None:
        self._hang_up(code, why)
        self._lost(why, now)

    def _lost(self, why: str, now: float) -> None:
        self._urls.failed()
        self._try_again(ConnectionFailed(f"the gateway did not send welcome: {why}"), why, now)

    def _try_again(self, error: ClientError, why: str, now: float, *, floor_s: float = 0.0) -> None:
        """Tries the next URL, unless ``error`` is the end. ``floor_s`` counts once all URLs have failed."""
        persistent = self._ever_open or self.policy.persist
        if self._urls.all_final or (self._urls.all_failed and not persistent):
            self._close(error)
        elif persistent:
            floor_s = min(floor_s, self.policy.retry_after_cap_s) if self._urls.all_failed else 0.0
            self._reconnect(why, now, floor_s=floor_s)
        else:
            self._forget_connection(why)
            self._dial(now)

    def _reconnect(self, why: str, now: float, *, floor_s: float = 0.0) -> None:
        """The connection is lost: forgets its state and sets the time of the next try."""
        if self._health.was_good(self.welcome, bool(self._subscriptions), now):
            self._backoff.reset()
        if self._leave_at is not None:
            self._dial_at = max(now, self._leave_at)
        else:
            self._dial_at = now + floor_s + self._backoff.next_delay()
        self.due(self._dial_at)
        self.stats.reconnects += self.welcome is not None
        self._forget_connection(why)
        self._set_state(ConnectionState.RECONNECTING, why)

    def _renew_token(self, error: ClientError, now: float) -> None:
        """The gateway refused the token: tries once more with a fresh token, if there can be one."""
        if not self._renewable or self.token_refused or not (self._ever_open or self.policy.persist):
            self._close(error)
            return
        self.token_refused = True
        self._reconnect(str(error), now)

    def _close(self, error: ClientError | None) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        if self._connected:
            self._send_acks()
            self._hang_up(CloseCode.NORMAL, "")
        self.error = error
        self._dial_at = None
        self._forget_connection(None)
        self._set_state(ConnectionState.CLOSED, None if error is None else str(error))
        for subscription in self.subscriptions:
            self._forget(subscription)
            subscription.end(error)

    def _forget_connection(self, why: str | None) -> None:
        self._connected = False
        self._leave_at = None
        self.welcome = None
        pings, self._pings = self._pings, {}
        for answered in pings.values():
            notify(answered, None)
        calls, self._calls = self._calls, {}
        for called in calls.values():
            notify(called, None)
        self._acks.clear()  # they are sent again once the gateway has accepted
        for table in (self._asked, self._recovering, self._by_number):
            table.clear()
        if why is not None:
            for subscription in self.subscriptions:
                subscription.detach(why)

    def _hang_up(self, code: int, reason: str, *, abort: bool = False) -> None:
        if self._connected:
            self._connected = False
            self._act(HangUp(int(code), reason[:100], abort))

    def _request_again(self, subscriptions: list[Subscription], why: str) -> None:
        """The gateway has dropped them; what it still sends under their numbers counts no more."""
        for subscription in subscriptions:
            self._by_number.pop(subscription.number or 0, None)
        self._request(subscriptions, why)

    def _request(self, subscriptions: Iterable[Subscription], why: str | None = None) -> None:
        """Sends ``subscribe``, one command for all that differ only in the instrument."""
        for batch in batches(subscriptions, self.policy.subscribe_batch):
            self._request_batch(batch, why)

    def _request_batch(self, batch: list[Subscription], why: str | None) -> None:
        id = next(self._ids)
        self._asked[id] = batch
        resume = self._places(batch)
        self._command(protocol.subscribe(id, [s.wanted for s in batch], resume))
        for subscription in batch:
            subscription.requested(why)

    def _places(self, batch: list[Subscription]) -> dict[str, tuple[int, int]]:
        """Where subscriptions of one channel go on, as far as the gateway can."""
        if self.welcome is None or batch[0].wanted.channel not in self.welcome.resumes:
            return {}
        return {each.instrument: place for each in batch if (place := each.resume) is not None}

    def _command(self, command: Command) -> None:
        if self._connected:
            self._act(Send(self.codec.encode(command)))

    def _act(self, action: Action) -> None:
        self._actions.append(action)
        self._wake()

    def _forget(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.request) is subscription:
            del self._subscriptions[subscription.request]
        if subscription.number is not None:
            self._by_number.pop(subscription.number, None)

    def _set_state(self, state: ConnectionState, reason: str | None) -> None:
        self.reason = reason
        if state is self.state:
            return
        self.state = state
        notify_all(self._state_observers, state)
