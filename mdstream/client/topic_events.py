"""The events of one topic, each once and in order; where the topic has it, with acknowledgement."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from mdstream.client import events
from mdstream.client.observers import Observer, notify, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent, Subscription

log = logging.getLogger(__name__)

NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Event:
    """``seq`` grows within the topic, but not by one. ``sender`` None: somebody on the bus. ``redelivered``: it may have come before, to
    another device or an earlier process.

    ``skipped`` counts the events just before it that a slow iteration dropped.
    """

    topic: str
    seq: int
    time_us: int
    type: str
    data: Any
    sender: str | None
    redelivered: bool
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Events(Subscription):
    """One topic, over any number of connections. What is acknowledged comes again until it is; without acknowledgement, what was missed is
    asked for as long as it is kept."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self.topic = request.instrument
        """Once the gateway has accepted, the whole name of one's own topic."""
        self.acknowledgement = NONE
        """``user``, ``device`` or ``none``; as the gateway says."""
        self.acknowledged: int | None = None
        """Up to this number the user, or this device, has acknowledged; None: nothing."""
        self.lost = 0
        """How often events were dropped before they came."""
        self.duplicates = 0
        """Events that came again to this subscription, and were left out."""
        self._seq: int | None = request.since
        self._epoch: int | None = None
        """The numbering that it is of; None: none has been told."""
        self._to_acknowledge = 0
        self._sent_ack = 0
        self._held: deque[events.TopicEvent] = deque()
        self._asked_at: float | None = None
        """While what is missing is asked for: when it is asked for again."""
        self._early: deque[Event] | None = deque(maxlen=link.policy.held_messages)
        """Events that came before anybody listened: the first ones come together with `subscribed`. None once somebody does."""
        self._event_observers: list[Observer[Event]] = []
        self._lost_observers: list[Callable[[int, int], object]] = []
        self._acknowledged_observers: list[Observer[int]] = []

    # ---- for the user

    @property
    def seq(self) -> int | None:
        """The number of the newest event that came; None before the first one."""
        return self._seq

    def acknowledge(self, event: Event | int) -> None:
        """This event, or number, and all before it. Sent again after a lost connection. Without effect where the topic is not
        acknowledged."""
        seq = event if isinstance(event, int) else event.seq
        if seq <= self._to_acknowledge:
            return
        self._to_acknowledge = seq
        self._send_ack()

    def on_event(self, observer: Observer[Event]) -> Callable[[], None]:
        """Calls ``observer(event)`` for each event, the first one also for those that came before; returns a function that stops the
        calls."""
        stop = register(self._event_observers, observer)
        early, self._early = self._early, None
        for event in early or ():
            notify(observer, event)
        return stop

    def on_lost(self, observer: Callable[[int, int], object]) -> Callable[[], None]:
        """Calls ``observer(first, last)`` when events with numbers between these are gone for good; returns a function that stops the
        calls."""
        return register(self._lost_observers, observer)

    def on_acknowledged(self, observer: Observer[int]) -> Callable[[], None]:
        """Calls ``observer(seq)`` when it is stored that all up to this number are acknowledged, here or on another device; returns a
        function that stops the calls."""
        return register(self._acknowledged_observers, observer)

    def updates(self, buffer: int = 65_536) -> UpdateStream[Event]:
        """Returns an iteration that keeps at most ``buffer`` events for a slow consumer."""
        return UpdateStream(self, self.on_event, buffer)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.updates()

    # ---- for the connection

    @property
    def resume(self) -> tuple[int, int] | None:
        return None if self._epoch is None or self._seq is None else (self._epoch, self._seq)

    @property
    def deadline(self) -> float | None:
        return self._asked_at

    @property
    def _is_acknowledged(self) -> bool:
        return self.acknowledgement != NONE

    def accept(self, event: events.Subscribed, now: float) -> None:
        self.topic = event.topic
        self.acknowledgement = event.acknowledge
        self.acknowledged = event.position
        self._sent_ack = event.position or 0
        if self._epoch not in (None, event.epoch):
            self._seq = self._to_acknowledge = 0  # another stream, with numbers of its own
        self._epoch = event.epoch
        super().accept(event, now)
        if self._is_acknowledged:
            self._send_ack()
        elif self._seq is None:
            self._seq = event.newest
        elif not event.resumed and self._seq < event.newest:
            self._ask(now)
            self._update_state(None)

    def _interrupt(self) -> None:
        self._synced = False
        self._asked_at = None
        self._held.clear()

    def _take(self, event: StreamEvent, now: float) -> None:
        match event:
            case events.TopicEvent():
                self._take_event(event, now)
            case events.Acknowledged():
                self._take_acknowledged(event)
            case events.Recovered():
                self._take_recovered(event, now)
            case events.Lost():
                self._take_lost(event)

    def _take_heartbeat(self, seq: int, now: float) -> None:
        if not self._is_acknowledged and self._asked_at is None and seq > (self._seq or 0):
            self._ask(now)

    def recover_refused(self, now: float) -> None:
        if self._asked_at is not None:
            self._set_asked(now + self._link.policy.backoff_base_s + self._retry.next_delay())

    def tick(self, now: float) -> None:
        if self._asked_at is not None and now >= self._asked_at:
            self._ask(now)

    # ---- inside

    def _take_event(self, event: events.TopicEvent, now: float) -> None:
        if self._seq is not None and event.seq <= self._seq:
            self.duplicates += 1
        elif self._is_acknowledged or event.prev <= (self._seq or 0):
            self._deliver(event)
        else:
            self._hold(event)
            if self._asked_at is None:
                self._link.stats.gaps += 1
                self._ask(now)

    def _hold(self, event: events.TopicEvent) -> None:
        if len(self._held) >= self._link.policy.held_messages:
            self._held.clear()  # they are asked for
        self._held.append(event)

    def _deliver(self, event: events.TopicEvent) -> None:
        self._seq = event.seq
        found = Event(
            event.topic,
            event.seq,
            event.time_us,
            event.event,
            event.data,
            event.sender,
            event.redelivered,
        )
        if self._early is not None:
            self._early.append(found)
        notify_all(self._event_observers, found)

    def _ask(self, now: float) -> None:
        self._synced = False
        self._set_asked(now + self._link.policy.recover_timeout_s)
        self._send_recover((self._seq or 0) + 1)

    def _set_asked(self, when: float) -> None:
        self._asked_at = when
        self._link.due(when)

    def _take_recovered(self, event: events.Recovered, now: float) -> None:
        if self._asked_at is None:
            return
        if event.more:
            self._seq = max(self._seq or 0, event.last)
            self._ask(now)
            return
        self._asked_at, self._synced = None, True
        self._retry.reset()
        held, self._held = self._held, deque()
        for each in held:
            if each.seq > (self._seq or 0):
                self._take_event(each, now)  # what was held may leave another gap

    def _take_lost(self, event: events.Lost) -> None:
        self.lost += 1
        self._seq = max(self._seq or 0, event.last)
        notify_all(self._lost_observers, event.first, event.last)

    def _take_acknowledged(self, event: events.Acknowledged) -> None:
        if event.seq <= (self.acknowledged or 0):
            return
        self.acknowledged = event.seq
        notify_all(self._acknowledged_observers, event.seq)

    def _send_ack(self) -> None:
        if not self.accepted or not self._is_acknowledged or self._to_acknowledge <= self._sent_ack:
            return
        self._sent_ack = self._to_acknowledge
        self._link.send_ack(self, self._to_acknowledge)
