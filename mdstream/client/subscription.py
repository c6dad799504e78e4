"""The state machine of one subscription, the same for every channel. No I/O: events and times in, commands out through ``Link``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from decimal import Context, Decimal
from enum import Enum, auto
from typing import Any, Protocol

from mdstream.client.backoff import Backoff
from mdstream.client.events import (
    BoardData,
    Candles,
    Delta,
    KeyedData,
    ListData,
    Lost,
    Snapshot,
    StateChange,
    Subscribed,
    Ticker,
    TopicData,
    Trades,
)
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.policy import Policy
from mdstream.client.protocol import Request
from mdstream.client.states import TRUSTED_STATES, Stats, SubscriptionState

log = logging.getLogger(__name__)

StreamEvent = (
    Delta | Snapshot | Trades | Ticker | Lost | BoardData | ListData | Candles | KeyedData | TopicData
)

_EXACT = Context(prec=60)
_LIVE = StateChange(sub=0, state=SubscriptionState.LIVE)
"""What a gateway that has reported no state means."""


class Link(Protocol):
    """What a subscription needs from its connection."""

    @property
    def policy(self) -> Policy: ...
    @property
    def random(self) -> Callable[[], float]: ...
    @property
    def stats(self) -> Stats: ...

    def due(self, when: float) -> None:
        """Makes sure that ``tick`` is called at this time."""

    def send_recover(self, subscription: Subscription, from_seq: int) -> None: ...

    def send_ack(self, subscription: Subscription, seq: int) -> None: ...

    def unsubscribe(self, subscription: Subscription) -> None: ...


class Attachment(Enum):
    """Whether the gateway serves a subscription on this connection."""

    DETACHED = auto()
    REQUESTED = auto()
    ACCEPTED = auto()
    ENDED = auto()


class Subscription:
    """One channel of one instrument. It continues over any number of connections until it is closed."""

    def __init__(self, request: Request, link: Link) -> None:
        self.request = request
        self.number: int | None = None
        """Its number on this connection (``sub``), given by the gateway."""
        self.price_exp = 0
        self.size_exp = 0
        self.ref: dict[str, Any] = {}
        """``tick``, ``lot``, ``name``, ``depth`` and what else the publisher says of the instrument; empty until accepted."""
        self.delay_ms = 0
        """How long ago what the gateway shows was published; 0: it is live."""
        self.state_reason: str | None = None
        """Why it is not live, if that is known; for people."""
        self.state_code: str | None = None
        """Why the gateway says so, a ``mdstream.model.StateCode``; None if live, or if the reason lies on this side."""
        self.age_ms: int | None = None
        """How old the venue's last word was when the gateway reported the state; ``age_s`` gives it now."""
        self.error: Exception | None = None
        """The error that ended it; None if it has not ended, or the user closed it."""
        self.users = 1
        """How often the user asked for it; as many calls of ``close`` end it."""
        self.granted_group = 0
        """Ticks per bucket that the gateway chose for ``group_digits``; it stays while the subscription lives."""
        self.retry_at: float | None = None
        self._link = link
        self._attachment = Attachment.DETACHED
        self._reported = SubscriptionState.LIVE
        self._report = _LIVE
        self._reported_at = 0.0
        self._synced = False
        self._was_ready = False
        self._known_state = SubscriptionState.PENDING
        self._known_report: StateChange | None = None
        self._next_reason: str | None = None
        self._state_observers: list[Observer[SubscriptionState]] = []
        self._ref_observers: list[Observer[dict[str, Any]]] = []
        self._end_observers: list[Callable[[], object]] = []
        self._retry = Backoff.of(link.random, link.policy)

    # ---- for the user

    @property
    def instrument(self) -> str:
        return self.request.instrument

    @property
    def state(self) -> SubscriptionState:
        if self._attachment is Attachment.ENDED:
            return SubscriptionState.ENDED
        if self._attachment is Attachment.ACCEPTED and self._synced:
            return self._reported
        if not self._was_ready and not self._is_told_recovering():
            return SubscriptionState.PENDING
        if self._attachment is Attachment.DETACHED:
            return SubscriptionState.DISCONNECTED
        return SubscriptionState.RECOVERING

    def _is_told_recovering(self) -> bool:
        """Whether the gateway says that it has no data to show."""
        return self._attachment is Attachment.ACCEPTED and self._reported is SubscriptionState.RECOVERING

    @property
    def trusted(self) -> bool:
        """Whether the data is exactly what the gateway sent, and nothing is known to be missing."""
        return self.state in TRUSTED_STATES

    def on_state(self, observer: Observer[SubscriptionState]) -> Callable[[], None]:
        """Calls ``observer(state)`` when the state or its code changes; returns a function that stops the calls."""
        return register(self._state_observers, observer)

    def on_ref(self, observer: Observer[dict[str, Any]]) -> Callable[[], None]:
        """Calls ``observer(ref)`` when the reference data changes; returns a function that stops the calls."""
        return register(self._ref_observers, observer)

    def age_s(self, now: float) -> float | None:
        """The age of the venue's last word, if the gateway reported one; ``now`` is the event loop's time."""
        return None if self.age_ms is None else self.age_ms / 1000 + now - self._reported_at

    async def close(self) -> None:
        """Unsubscribes, and stops the iterations over it, once it is closed as often as the user asked for it."""
        if self.ended:
            return
        self.users -= 1
        if self.users == 0:
            self._link.unsubscribe(self)

    async def wait_ended(self) -> None:
        """Returns when the subscription has ended; raises the error that ended it, if there was one."""
        over = asyncio.Event()
        unregister = self.on_end(over.set)
        try:
            if not self.ended:
                await over.wait()
        finally:
            unregister()
        if self.error is not None:
            raise self.error

    def price(self, ticks: int) -> Decimal:
        """The exact decimal value of a price in ticks."""
        return scaled(ticks, self.price_exp)

    def size(self, lots: int) -> Decimal:
        """The exact decimal value of a size in lots."""
        return scaled(lots, self.size_exp)

    # ---- for the connection

    @property
    def ready(self) -> bool:
        """Whether its data was ever trusted."""
        return self._was_ready

    @property
    def accepted(self) -> bool:
        return self._attachment is Attachment.ACCEPTED

    @property
    def ended(self) -> bool:
        return self._attachment is Attachment.ENDED

    @property
    def deadline(self) -> float | None:
        """When ``tick`` must be called."""
        return None

    @property
    def resume(self) -> tuple[int, int] | None:
        """(epoch, seq) of what the user has, after which the gateway may continue; None if it has nothing."""
        return None

    @property
    def wanted(self) -> Request:
        """What is asked for now: a group that was chosen before is kept."""
        if not self.request.group_digits or not self.granted_group:
            return self.request
        return self.request._replace(group=self.granted_group, group_digits=0)

    def on_end(self, observer: Callable[[], object]) -> Callable[[], None]:
        return register(self._end_observers, observer)

    def requested(self, reason: str | None = None) -> None:
        """``subscribe`` was sent, again if there is a ``reason``; what was sent before is over."""
        self._attachment = Attachment.REQUESTED
        self.number = None
        self.retry_at = None
        self._interrupt()
        self._update_state(reason)

    def accept(self, event: Subscribed, now: float) -> None:
        """The gateway sent ``subscribed``; the state is LIVE until the gateway reports another."""
        price_exp, size_exp = event.price_exp or 0, event.size_exp or 0
        rescaled = (price_exp, size_exp) != (self.price_exp, self.size_exp)
        self._attachment = Attachment.ACCEPTED
        self.number = event.sub
        self._reported, self._report = SubscriptionState.LIVE, _LIVE
        self._retry.reset()
        self._begin(now, resumed=event.resumed, rescaled=rescaled)
        self.price_exp, self.size_exp = price_exp, size_exp
        self.delay_ms = event.delay_ms
        self.granted_group = event.group if self.request.group_digits else 0
        self.take_ref(event.ref)
        self._update_state(None)

    def detach(self, reason: str) -> None:
        """The connection is gone."""
        if self._attachment is Attachment.ENDED:
            return
        self._attachment = Attachment.DETACHED
        self.number = None
        self.retry_at = None
        self._interrupt()
        self._update_state(reason)

    def end(self, error: Exception | None) -> None:
        if self._attachment is Attachment.ENDED:
            return
        self._attachment = Attachment.ENDED
        self.error = error
        self._interrupt()
        self._update_state(None if error is None else str(error))
        notify_all(self._end_observers)

    def take(self, event: StreamEvent, now: float) -> None:
        """One message of its stream."""
        self._take(event, now)
        self._update_state(None)

    def take_state(self, event: StateChange, now: float) -> None:
        try:
            self._reported = SubscriptionState(event.state)
        except ValueError:
            log.debug("%s: ignoring the unknown state %r", self, event.state)
            return
        self._report, self._reported_at = event, now
        self._update_state(None)

    def take_ref(self, ref: dict[str, Any]) -> None:
        if ref != self.ref:
            self.ref = ref
            notify_all(self._ref_observers, ref)

    def take_heartbeat(self, seq: int, now: float) -> None:
        """A heartbeat gave the newest number that the gateway sent."""
        self._take_heartbeat(seq, now)
        self._update_state(None)

    def recover_refused(self, now: float) -> None:
        """The gateway answered ``recover`` with ``error``."""

    def retry_later(self, now: float) -> None:
        """The gateway refused a repeated ``subscribe`` for now."""
        self._attachment = Attachment.DETACHED
        self.retry_at = now + self._link.policy.backoff_base_s + self._retry.next_delay()
        self._link.due(self.retry_at)

    def put_off(self, reason: str, now: float) -> None:
        """The gateway has ended it for now."""
        self.detach(reason)
        self.retry_later(now)

    def tick(self, now: float) -> None: ...

    # ---- for the channels

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        """Accepted: continues from ``resume``, or from nothing."""
        self._synced = True

    def _interrupt(self) -> None:
        """No more messages come on this connection."""

    def _take(self, event: StreamEvent, now: float) -> None:
        raise NotImplementedError

    def _take_heartbeat(self, seq: int, now: float) -> None: ...

    def _send_recover(self, from_seq: int) -> None:
        self._link.send_recover(self, from_seq)

    def _update_state(self, reason: str | None) -> None:
        """Tells the observers if the state has changed. The gateway's report says why, or else ``reason`` or ``_next_reason``."""
        state = self.state
        report = self._report if self._is_reported(state) else None
        reason, self._next_reason = reason or self._next_reason, None
        if state is self._known_state and report is self._known_report and reason is None:
            return
        if state in TRUSTED_STATES:
            self._was_ready = True
        code = None if report is None else report.code
        changed = (state, code) != (self._known_state, self.state_code)
        self._known_state, self._known_report = state, report
        self.state_code, self.age_ms = code, None if report is None else report.age_ms
        self.state_reason = reason if report is None else report.reason
        if changed:
            notify_all(self._state_observers, state)

    def _is_reported(self, state: SubscriptionState) -> bool:
        """Whether the state is the one that the gateway reported, or nothing has come because of that one."""
        if self._attachment is not Attachment.ACCEPTED:
            return False
        return self._synced or state is SubscriptionState.PENDING or self._reported is state

    def __str__(self) -> str:
        return f"{self.request.channel} {self.request.instrument}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.instrument} {self.state}>"


def scaled(number: int, exponent: int) -> Decimal:
    """number × 10^exponent, exact in every decimal context."""
    if exponent >= 0:
        return Decimal(number * 10**exponent)
    return Decimal(number).scaleb(exponent, _EXACT)


def batches(subscriptions: Iterable[Subscription], most: int) -> Iterator[list[Subscription]]:
    """Those that differ only in the instrument together, at most so many: each is for one ``subscribe``."""
    alike: dict[Request, list[Subscription]] = {}
    for subscription in subscriptions:
        alike.setdefault(subscription.wanted._replace(instrument=""), []).append(subscription)
    for group in alike.values():
        for start in range(0, len(group), most):
            yield group[start : start + most]
