"""What sessions here do, in the order in which they do it, until it is stored for webhooks; without I/O.

Each record costs a small tuple; they are encoded when they are stored. Nothing is done for what is delivered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from mdstream.bus.activity import What
from mdstream.topics import TOPIC_CHANNELS

DROPPED_AT_ONCE: Final = 25
"""Sessions of a dead gateway in one message: also the longest names fit."""


class Note(NamedTuple):
    """A record that waits. ``id``: several gateways tell the same, with the same id; what has none is told by this one alone."""

    what: What
    us: int
    data: dict[str, Any]
    id: str | None = None


class Activity:
    """``wake`` is called where something waits that is to be stored."""

    def __init__(self, kinds: Collection[str], gateway: str, most: int, wall_us: Callable[[], int]) -> None:
        """``kinds``: some of ``activity_settings.KINDS``. ``gateway``: the name of this process, which no other has. ``most``: records
        that wait."""
        self.gateway = gateway
        self.lost_total = 0
        self.wake: Callable[[], object] = lambda: None
        self._of_sessions = "session" in kinds
        self._of_subscriptions = "subscription" in kinds
        self._of_presence = "presence" in kinds
        self._most = most
        self._wall_us = wall_us
        self._waiting: deque[Note] = deque()
        self._untold = 0
        """Lost since the last record that was kept."""
        self._subs: dict[str, dict[int, dict[str, Any]]] = {}
        """By session and number: what is told of a subscription."""

    def __len__(self) -> int:
        """Records that wait."""
        return len(self._waiting)

    # ---- what happens

    def started(self, node: str) -> None:
        self._tell(What.STARTED, {"gateway": self.gateway, "node": node})

    def stopped(self, node: str) -> None:
        self._tell(What.STOPPED, {"gateway": self.gateway, "node": node})

    def opened(self, session: str, subject: str, method: str) -> None:
        if self._of_sessions:
            self._tell(What.OPENED, {**self._who(session, subject), "method": method})

    def closed(self, session: str, subject: str, code: int) -> None:
        """Call when all that belongs to it has ended."""
        if self._of_sessions:
            self._tell(What.CLOSED, {**self._who(session, subject), "code": code})

    def subscribed(self, session: str, subject: str, sub: int, channel: str, name: str) -> None:
        """``name``: of a topic or an instrument; ``*`` for lists and boards."""
        if self._of_subscriptions:
            key = "topic" if channel in TOPIC_CHANNELS else "instrument"
            data = {**self._who(session, subject), "sub": sub, "channel": channel, key: name}
            self._subs.setdefault(session, {})[sub] = data
            self._tell(What.BEGUN, data)

    def ended(self, session: str, subs: Iterable[int] | None) -> None:
        """Of these subscriptions, or of all."""
        known = self._subs.get(session)
        if known is None:
            return
        for sub in list(known) if subs is None else subs:
            data = known.pop(sub, None)
            if data is not None:
                self._tell(What.ENDED, data)
        if not known:
            del self._subs[session]

    def joined(self, topic: str, session: str, value: list[Any]) -> None:
        """``value``: as in the map of presence."""
        if self._of_presence:
            self._tell(What.JOINED, {**self._who(session, value[0]), "topic": topic, "info": value[2]})

    def left(self, topic: str, session: str, value: list[Any]) -> None:
        if self._of_presence:
            self._tell(What.LEFT, {**self._who(session, value[0]), "topic": topic})

    def dropped(self, topic: str, gateway: str, rows: Iterable[tuple[str, list[Any]]], id: str) -> None:
        """A gateway is dead, and its sessions are present no more. All gateways that know it tell it, with the same ``id``."""
        if not self._of_presence:
            return
        for number, (session, value) in enumerate(sorted(rows, key=lambda row: row[0])):
            data = {"gateway": gateway, "session": session, "subject": value[0] or None, "topic": topic}
            self._tell(What.LEFT, data, f"{id}/{number // DROPPED_AT_ONCE}")

    def _who(self, session: str, subject: str) -> dict[str, Any]:
        return {"gateway": self.gateway, "session": session, "subject": subject or None}

    # ---- what waits

    def _tell(self, what: What, data: dict[str, Any], id: str | None = None) -> None:
        if len(self._waiting) >= self._most:
            self._untold += 1
            self.lost_total += 1
            return
        if self._untold:
            self._waiting.append(self._take_untold())
        self._waiting.append(Note(what, self._wall_us(), data, id))
        self.wake()

    def first(self) -> Note | None:
        """The oldest that waits; ``take`` it once it is in a message."""
        if not self._waiting and self._untold:
            self._waiting.append(self._take_untold())
        return self._waiting[0] if self._waiting else None

    def take(self) -> None:
        self._waiting.popleft()

    def _take_untold(self) -> Note:
        data = {"gateway": self.gateway, "reason": "queue_full", "count": self._untold}
        self._untold = 0
        return Note(What.LOST, self._wall_us(), data)
