"""What we asked the venue for, what it has not answered, and when to ask again. No I/O; the clock is monotonic.

A book is subscribed once a snapshot with the right checksum has come, trades once the venue has confirmed them or sent one.
Whatever goes wrong, however often, is asked for again after a delay that grows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from mdstream.feeds._venue import HEALTHY_S, Backoff

Channel = Literal["book", "trade"]

ANSWER_S = 10.0
"""The venue answers within milliseconds. After this time the request, or its answer, is taken for lost."""
BATCH = 100
"""Pairs in one request."""


class Key(NamedTuple):
    """One subscription."""

    channel: Channel
    pair: str


@dataclass(slots=True)
class _Subscription:
    """Exactly one of these is set: ``due`` (when to ask), ``asked`` (when we did), ``since`` (when it was confirmed)."""

    backoff: Backoff
    due: float | None = None
    asked: float | None = None
    since: float | None = None
    known: bool = False
    """Whether this connection has asked for it before: the venue gives no second snapshot unless we unsubscribe."""


class Subscriptions:
    """The subscriptions of one connection after the other."""

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff = backoff
        self._clock = clock
        self._all: dict[Key, _Subscription] = {}

    def on_open(self) -> None:
        """A new connection has no subscriptions."""
        for each in self._all.values():
            each.due = each.asked = each.since = None
            each.known = False

    def ask(self, key: Key) -> None:
        """Asks at once, unless it is asked for already."""
        each = self._get(key)
        if each.due is None and each.asked is None:
            each.due, each.since = self._clock(), None

    def ask_again(self, key: Key) -> float:
        """Asks after the delay that is returned."""
        each, now = self._get(key), self._clock()
        if each.due is not None:
            return max(each.due - now, 0.0)
        if each.since is not None and now - each.since >= HEALTHY_S:
            each.backoff.reset()
        delay_s = each.backoff.next_s()
        each.due, each.asked, each.since = now + delay_s, None, None
        return delay_s

    def confirm(self, key: Key) -> None:
        each = self._get(key)
        if each.since is None:
            each.due, each.asked, each.since = None, None, self._clock()

    def drop(self, pair: str) -> None:
        """The venue no longer has this pair."""
        self._all = {key: each for key, each in self._all.items() if key.pair != pair}

    def confirmed(self, key: Key) -> bool:
        return key in self._all and self._all[key].since is not None

    def unanswered(self, pair: str = "") -> list[Key]:
        """What the venue has not answered yet, of one pair or of all."""
        return [key for key, each in self._all.items() if each.asked is not None and pair in ("", key.pair)]

    def overdue(self) -> list[tuple[Key, float]]:
        """What the venue should have answered, and when it was asked."""
        now = self._clock()
        return [
            (key, each.asked)
            for key, each in self._all.items()
            if each.asked is not None and now - each.asked >= ANSWER_S
        ]

    def due(self, ready: Callable[[Key], bool] = lambda _: True) -> list[tuple[Key, bool]]:
        """What to ask for now, each with whether to unsubscribe first. Counts as asked."""
        now = self._clock()
        found = [
            (key, each)
            for key, each in self._all.items()
            if each.due is not None and each.due <= now and ready(key)
        ]
        asked = [(key, each.known) for key, each in found]
        for _, each in found:
            each.due, each.asked, each.known = None, now, True
        return asked

    def _get(self, key: Key) -> _Subscription:
        if key not in self._all:
            self._all[key] = _Subscription(self._backoff.fresh())
        return self._all[key]


def request(method: str, **params: Any) -> str:
    """A request to the venue."""
    return json.dumps({"method": method, "params": params})


def requests(asked: Iterable[tuple[Key, bool]], depth: int) -> Iterator[str]:
    """What to send for these subscriptions."""
    asked = list(asked)
    wanted: dict[Channel, list[str]] = {"book": [], "trade": []}
    for key, _ in asked:
        wanted[key.channel].append(key.pair)
    known = [key.pair for key, known in asked if known and key.channel == "book"]
    for pairs in _batches(known):
        yield request("unsubscribe", channel="book", symbol=pairs, depth=depth)
    for pairs in _batches(wanted["book"]):
        yield request("subscribe", channel="book", symbol=pairs, depth=depth, snapshot=True)
    for pairs in _batches(wanted["trade"]):
        yield request("subscribe", channel="trade", symbol=pairs, snapshot=True)


def _batches(pairs: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(pairs), BATCH):
        yield pairs[start : start + BATCH]
