"""One ``recover`` from the asking until the answer: what is missing, what arrived meanwhile, when to ask again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from mdstream.client.backoff import Backoff
from mdstream.client.policy import Policy

T = TypeVar("T")


class Clockwork(Protocol):
    """What decides how long to wait, and sees to it that ``tick`` is called when the time has come."""

    policy: Policy
    random: Callable[[], float]

    def due(self, when: float) -> None: ...


class Recovery(Generic[T]):
    """Asks at once the first time; asked again without success in between, it waits longer each time.

    ``send`` is given the first number that is missing, or 0 for a snapshot. Times are seconds of a monotonic clock.
    """

    def __init__(self, send: Callable[[int], None], clock: Clockwork) -> None:
        self._send = send
        self._clock = clock
        self._policy = clock.policy
        self._backoff = Backoff.of(clock.random, clock.policy)
        self._asked = False
        self._held: deque[T] = deque()
        self.active = False
        self.from_seq = 0
        self.deadline: float | None = None

    def start(self, from_seq: int, now: float) -> None:
        """Begins, or begins again with another number."""
        first = self._backoff.attempt == 0
        delay = self._backoff.next_delay()
        self.active = True
        self.from_seq = from_seq
        if first:
            self._ask(now)
        else:
            self._ask_at(now + delay)

    def expect(self, now: float) -> None:
        """A snapshot should come by itself: asks for one if it does not."""
        self.from_seq = 0
        self._asked = True
        self._wake_at(now + self._policy.recover_timeout_s)

    def hold(self, event: T) -> None:
        """Keeps what cannot be applied yet; too much is dropped, and found missing afterwards."""
        if len(self._held) >= self._policy.held_messages:
            self._held.clear()
        self._held.append(event)

    def drop_held(self) -> None:
        """What was held belongs to an epoch that is over."""
        self._held.clear()

    def settle(self) -> list[T]:
        """The answer is here; returns what was held, in order."""
        self.active = False
        self.deadline = None
        held = list(self._held)
        self._held.clear()
        return held

    def prove(self) -> None:
        """What followed was right: the next trouble is a new one."""
        self._backoff.reset()

    def stop(self) -> None:
        """The connection is gone, and with it the question, what was held, and the count of tries."""
        self.settle()
        self.prove()

    def refused(self, now: float) -> None:
        """The gateway answered ``error``: asks again later."""
        self._ask_at(now + self._policy.backoff_base_s + self._backoff.next_delay())

    def tick(self, now: float) -> None:
        if self.deadline is None or now < self.deadline:
            return
        if self._asked:
            self.from_seq = 0
        self.active = True
        self._ask(now)

    def _ask(self, now: float) -> None:
        self._asked = True
        self._wake_at(now + self._policy.recover_timeout_s)
        self._send(self.from_seq)

    def _ask_at(self, when: float) -> None:
        self._asked = False
        self._wake_at(when)

    def _wake_at(self, when: float) -> None:
        self.deadline = when
        self._clock.due(when)
