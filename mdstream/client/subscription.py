"""The state machine of one subscription, whatever its channel. No I/O: events and times in, commands out through ``Link``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Context, Decimal
from enum import Enum, auto
from typing import Protocol, TypeVar

from mdstream.client.backoff import Backoff
from mdstream.client.events import Delta, Lost, Snapshot, StateChange, Subscribed, Ticker, Trades
from mdstream.client.protocol import Request
from mdstream.client.recovery import Clockwork
from mdstream.client.states import TRUSTED_STATES, Stats, SubscriptionState

log = logging.getLogger(__name__)

T = TypeVar("T")
Observer = Callable[[T], object]
StreamEvent = Delta | Snapshot | Trades | Ticker | Lost

_EXACT = Context(prec=60)


class Link(Clockwork, Protocol):
    """What a subscription needs of the connection it is on."""

    stats: Stats

    def send_recover(self, subscription: Subscription, from_seq: int) -> None: ...

    def unsubscribe(self, subscription: Subscription) -> None: ...


class Attachment(Enum):
    """How a subscription stands with the connection."""

    DETACHED = auto()
    REQUESTED = auto()
    ACCEPTED = auto()
    ENDED = auto()


class Subscription:
    """One channel of one instrument, kept up over any number of connections until it is closed."""

    def __init__(self, request: Request, link: Link) -> None:
        self.request = request
        self.number: int | None = None
        """The gateway's number for it on this connection (``sub``)."""
        self.price_exp = 0
        self.size_exp = 0
        self.state_reason: str | None = None
        """Why it is not live, where that is known."""
        self.error: Exception | None = None
        """Why it ended; None if it did not, or was closed by the user."""
        self.users = 1
        """Times it was asked for; the last ``close`` ends it."""
        self.retry_at: float | None = None
        self._link = link
        self._attachment = Attachment.DETACHED
        self._market = SubscriptionState.LIVE
        self._synced = False
        self._was_ready = False
        self._shown = SubscriptionState.PENDING
        self._why: str | None = None
        self._state_observers: list[Observer[SubscriptionState]] = []
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
            return self._market
        if not self._was_ready:
            return SubscriptionState.PENDING
        if self._attachment is Attachment.DETACHED:
            return SubscriptionState.DISCONNECTED
        return SubscriptionState.RECOVERING

    @property
    def trusted(self) -> bool:
        """Whether what is held is exactly what the gateway sent, with nothing known to be missing."""
        return self.state in TRUSTED_STATES

    def on_state(self, observer: Observer[SubscriptionState]) -> Callable[[], None]:
        """Calls ``observer(state)`` at each change; returns a function that ends it."""
        return register(self._state_observers, observer)

    async def close(self) -> None:
        """Unsubscribes, unless the same was asked for more often than closed. Iterations over it stop."""
        if self.ended:
            return
        self.users -= 1
        if self.users == 0:
            self._link.unsubscribe(self)

    async def wait_ended(self) -> None:
        """Returns when the subscription is over; raises what ended it, if that was not its user."""
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
        """Whether it was ever in step with the gateway."""
        return self._was_ready

    @property
    def accepted_here(self) -> bool:
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
        """(epoch, seq) from which the gateway may go on; None if only a fresh start will do."""
        return None

    def on_end(self, observer: Callable[[], object]) -> Callable[[], None]:
        return register(self._end_observers, observer)

    def requested(self) -> None:
        """``subscribe`` is on its way."""
        self._attachment = Attachment.REQUESTED
        self.retry_at = None
        self._show(None)

    def accept(self, event: Subscribed, now: float) -> None:
        """The gateway said ``subscribed``; the market counts as live until it says otherwise."""
        rescaled = (event.price_exp, event.size_exp) != (self.price_exp, self.size_exp)
        self._attachment = Attachment.ACCEPTED
        self.number = event.sub
        self._market = SubscriptionState.LIVE
        self._retry.reset()
        self._begin(now, resumed=event.resumed, rescaled=rescaled)
        self.price_exp, self.size_exp = event.price_exp, event.size_exp
        self._show(None)

    def detach(self, reason: str) -> None:
        """The connection is gone."""
        if self._attachment is Attachment.ENDED:
            return
        self._attachment = Attachment.DETACHED
        self.number = None
        self.retry_at = None
        self._interrupt()
        self._show(reason)

    def end(self, error: Exception | None) -> None:
        if self._attachment is Attachment.ENDED:
            return
        self._attachment = Attachment.ENDED
        self.error = error
        self._interrupt()
        self._show(None if error is None else str(error))
        for observer in tuple(self._end_observers):
            notify(observer)

    def take(self, event: StreamEvent, now: float) -> None:
        """One message of its stream."""
        self._take(event, now)
        self._show(None)

    def take_state(self, event: StateChange) -> None:
        try:
            self._market = SubscriptionState(event.state)
        except ValueError:
            log.debug("%s: ignoring the unknown state %r", self, event.state)
            return
        self._show(event.reason)

    def hear(self, seq: int, now: float) -> None:
        """A heartbeat told the newest number sent."""
        self._hear(seq, now)
        self._show(None)

    def recover_refused(self, now: float) -> None:
        """``recover`` was answered by ``error``."""

    def retry_later(self, now: float) -> None:
        """A repeated ``subscribe`` was refused for now."""
        self._attachment = Attachment.DETACHED
        self.retry_at = now + self._link.policy.backoff_base_s + self._retry.next_delay()
        self._link.due(self.retry_at)

    def tick(self, now: float) -> None: ...

    # ---- for the channels

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        """Accepted: go on from ``resume``, or from nothing."""
        self._synced = True

    def _interrupt(self) -> None:
        """No more messages will come on this connection."""

    def _take(self, event: StreamEvent, now: float) -> None:
        raise NotImplementedError

    def _hear(self, seq: int, now: float) -> None: ...

    def _send_recover(self, from_seq: int) -> None:
        self._link.send_recover(self, from_seq)

    def _show(self, reason: str | None) -> None:
        """Tells the observers if the state is another one than they know; ``_why`` may hold the reason."""
        state = self.state
        if state in TRUSTED_STATES:
            self._was_ready = True
        if state is self._shown:
            return
        self._shown = state
        self.state_reason, self._why = reason or self._why, None
        for observer in tuple(self._state_observers):
            notify(observer, state)

    def __str__(self) -> str:
        return f"{self.request.channel} {self.request.instrument}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.instrument} {self.state}>"


def scaled(number: int, exponent: int) -> Decimal:
    """number × 10^exponent, exactly, whatever the caller's decimal context."""
    if exponent >= 0:
        return Decimal(number * 10**exponent)
    return Decimal(number).scaleb(exponent, _EXACT)


def notify(observer: Callable[..., object], *arguments: object) -> None:
    """Calls a user's function; what it raises is logged, for the stream must go on."""
    try:
        observer(*arguments)
    except Exception:
        log.exception("an observer of mdstream.client raised")


def register(observers: list[T], observer: T) -> Callable[[], None]:
    observers.append(observer)

    def unregister() -> None:
        if observer in observers:
            observers.remove(observer)

    return unregister
