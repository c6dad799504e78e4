"""The client's state machine, without I/O: events and times go in, actions come out.

Its driver calls ``start dialed dial_failed received closed authenticate tick close``. After each call, and after ``wake``, it carries
out ``take_actions()``. It calls ``tick`` at ``deadline()``. Times are seconds of a monotonic clock; ``wall_us`` is this
machine's time in µs since the Unix epoch, and only measures latency.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from mdstream.client import events, protocol
from mdstream.client.actions import RenewToken
from mdstream.client.connection import Connection
from mdstream.client.observers import Observer, notify, notify_all, register
from mdstream.client.policy import TEMPORARY_ERRORS
from mdstream.client.protocol import Command, Request
from mdstream.client.states import ConnectionState
from mdstream.client.subscription import StreamEvent, Subscription, batches
from mdstream.codes import OVERLOAD, RESCALED, CloseCode, ErrorCode
from mdstream.errors import ClientError, ProtocolViolation, SubscriptionRefused
from mdstream.printable import printable

log = logging.getLogger(__name__)


class ClientCore(Connection):
    """One client: at most one connection at a time, and the subscriptions, which continue over several connections."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As for `Connection`."""
        super().__init__(*arguments, **options)
        self._asked: dict[int, list[Subscription]] = {}
        self._recovering: dict[int, Subscription] = {}
        self._pings: dict[int, Callable[[float | None], object]] = {}
        self._calls: dict[int, Callable[[events.Answer], object]] = {}
        self._acks: dict[Subscription, int] = {}
        self._acks_at = 0.0
        """When acknowledgements may be sent again."""
        self._subscriptions: dict[Request, Subscription] = {}
        self._by_number: dict[int, Subscription] = {}
        self._payload_observers: list[Observer[bytes]] = []

    # ---- for the user

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        return tuple(self._subscriptions.values())

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

    def tick(self, now: float) -> None:
        """Does what is due; may be called at any time."""
        self._tick_connection(now)
        for subscription in self.subscriptions:
            subscription.tick(now)
            if subscription.retry_at is not None and now >= subscription.retry_at:
                self._request([subscription])
        times = [t for s in self._subscriptions.values() for t in (s.deadline, s.retry_at) if t is not None]
        self._earliest = min([*times, *self._connection_deadlines()], default=None)

    # ---- for the subscriptions

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
                self._sent_away(event, now)
            case events.Welcome():
                if self._is_welcome(event, now):
                    self._request(self._subscriptions.values())
            case events.TokenExpiring():
                self._act(RenewToken())

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

    # ---- what becomes of the connection

    @property
    def _wanted(self) -> bool:
        return bool(self._subscriptions)

    def _before_closing(self) -> None:
        self._send_acks()

    def _connection_is_gone(self, why: str | None) -> None:
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

    def _is_over(self, error: ClientError | None) -> None:
        for subscription in self.subscriptions:
            self._forget(subscription)
            subscription.end(error)

    # ---- what is asked for

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

    def _forget(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.request) is subscription:
            del self._subscriptions[subscription.request]
        if subscription.number is not None:
            self._by_number.pop(subscription.number, None)
