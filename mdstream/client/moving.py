"""Subscriptions to topics on several lines: each is on one line at a time, and goes on on another one when that loses its connection.

Two lines would bring each event twice, acknowledge it twice, and be present twice. Resuming is the same on every gateway, so a
move loses nothing and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from mdstream.client.policy import Policy
from mdstream.client.protocol import Request
from mdstream.client.states import Stats
from mdstream.client.subscription import Link, Subscription

Make = Callable[[Request, Link], Subscription]


class Moving:
    """What one subscription needs from the line that it is on."""

    def __init__(self, make: Make, request: Request, line: int) -> None:
        self.line = line
        """The number of the line."""
        self._make = make
        self._request = request
        self._link: Link
        self._subscription: Subscription | None = None

    def use(self, link: Link) -> Subscription:
        """The subscription, on this line from now on."""
        self._link = link
        if self._subscription is None:
            self._subscription = self._make(self._request, self)
        return self._subscription

    @property
    def policy(self) -> Policy:
        return self._link.policy

    @property
    def random(self) -> Callable[[], float]:
        return self._link.random

    @property
    def stats(self) -> Stats:
        return self._link.stats

    def due(self, when: float) -> None:
        self._link.due(when)

    def send_recover(self, subscription: Subscription, from_seq: int) -> None:
        self._link.send_recover(subscription, from_seq)

    def send_ack(self, subscription: Subscription, seq: int) -> None:
        self._link.send_ack(subscription, seq)

    def unsubscribe(self, subscription: Subscription) -> None:
        self._link.unsubscribe(subscription)
