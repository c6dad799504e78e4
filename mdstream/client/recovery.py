"""Recovers what is missing: one ``recover`` from the command to its answer, and the subscriptions that send it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from mdstream.client.backoff import Backoff
from mdstream.client.protocol import Request
from mdstream.client.subscription import Link, Subscription

T = TypeVar("T")


class Recovery(Generic[T]):
    """Sends the first ``recover`` at once; without success it waits longer before each further one.

    ``send`` takes the first missing number, or 0 for a snapshot. Times are seconds of a monotonic clock.
    """

    def __init__(self, send: Callable[[int], None], link: Link) -> None:
        self._send = send
        self._link = link
        self._policy = link.policy
        self._backoff = Backoff.of(link.random, link.policy)
        self._sent = False
        self._held: deque[T] = deque()
        self.active = False
        self.from_seq = 0
        self.deadline: float | None = None

    def start(self, from_seq: int, now: float) -> None:
        """Starts, or starts again with another number."""
        first = self._backoff.attempt == 0
        delay = self._backoff.next_delay()
        self.active = True
        self.from_seq = from_seq
        if first:
            self._recover(now)
        else:
            self._recover_at(now + delay)

    def expect(self, now: float) -> None:
        """A snapshot should come without ``recover``; sends one if it does not."""
        self.from_seq = 0
        self._sent = True
        self._set_deadline(now + self._policy.recover_timeout_s)

    def wait(self) -> None:
        """There is nothing to ask for: data will come by itself."""
        self.active = False
        self.deadline = None

    def hold(self, event: T) -> None:
        """Keeps a message that cannot be applied yet. If too many are held, drops them; they show up as missing later."""
        if len(self._held) >= self._policy.held_messages:
            self._held.clear()
        self._held.append(event)

    def drop_held(self) -> None:
        """The held messages belong to an epoch that is over."""
        self._held.clear()

    def complete(self) -> list[T]:
        """The answer has come; returns the held messages in order."""
        self.active = False
        self.deadline = None
        held = list(self._held)
        self._held.clear()
        return held

    def reset_delay(self) -> None:
        """The messages after the answer were right: the next ``recover`` is a first one."""
        self._backoff.reset()

    def stop(self) -> None:
        """The connection is gone, and with it the command, the held messages and the count of tries."""
        self.complete()
        self.reset_delay()

    def refused(self, now: float) -> None:
        """The gateway answered ``error``; tries again later."""
        self._recover_at(now + self._policy.backoff_base_s + self._backoff.next_delay())

    def tick(self, now: float) -> None:
        if self.deadline is None or now < self.deadline:
            return
        if self._sent:
            self.from_seq = 0
        self.active = True
        self._recover(now)

    def _recover(self, now: float) -> None:
        self._sent = True
        self._set_deadline(now + self._policy.recover_timeout_s)
        self._send(self.from_seq)

    def _recover_at(self, when: float) -> None:
        self._sent = False
        self._set_deadline(when)

    def _set_deadline(self, when: float) -> None:
        self.deadline = when
        self._link.due(when)


class NumberedSubscription(Subscription, Generic[T]):
    """A subscription whose messages have consecutive numbers, so that it notices a gap and recovers it."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._recovery: Recovery[T] = Recovery(self._send_recover, link)
        self.recoveries = 0
        """``recover`` commands sent for this subscription."""
        self.gaps = 0

    @property
    def deadline(self) -> float | None:
        return self._recovery.deadline

    def recover_refused(self, now: float) -> None:
        if self._recovery.active:
            self._recovery.refused(now)

    def tick(self, now: float) -> None:
        self._recovery.tick(now)

    def _interrupt(self) -> None:
        self._recovery.stop()

    def _recover_gap(self, what: str, from_seq: int, now: float) -> None:
        """``what`` is missing: sends ``recover`` from ``from_seq``, 0 for a snapshot."""
        self.gaps += 1
        self._link.stats.gaps += 1
        self._next_reason = f"{what} missing"
        self._recovery.start(from_seq, now)

    def _send_recover(self, from_seq: int) -> None:
        self.recoveries += 1
        super()._send_recover(from_seq)
