"""The latest events of one topic as clients are sent them, without I/O.

The ``source`` of a composed topic, whose numbers are those of the stream. What is older than the log is read from the stream.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mdstream.gateway.control_decoder import JSON

if TYPE_CHECKING:
    from mdstream._core.fanout.sink import Sink
    from mdstream.bus.events import Event
    from mdstream.bus.stored_message import Numbered

KIND: Final = 11
"""The first number of a MessagePack message."""
MOST_EVENTS: Final = 512
MOST_BYTES: Final = 131_072
"""Of payloads that one log keeps."""
LEAST_BYTES: Final = 8_192
"""The same, while all logs together are full."""
MOST_BYTES_OF_ALL: Final = 64 * 1_048_576

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class LoggedEvent:
    """One event. ``prev``: the number of the topic's event before it, 0 where it is not known."""

    __slots__ = ("event", "made", "prev", "seq", "size", "time_us")

    def __init__(self, message: Numbered, prev: int, event: Event) -> None:
        self.seq = message.seq
        self.prev = prev
        self.time_us = message.stored_us
        self.event = event
        self.size = len(message.payload)
        self.made: list[bytes | None] = [None, None]
        """By format: the message for those who get it for the first time."""


def encode(format: int, sub: int, topic: str, logged: LoggedEvent, *, redelivered: bool) -> bytes:
    """The message of one event."""
    event = logged.event
    if format == JSON:
        found: dict[str, Any] = {
            "type": "event",
            "sub": sub,
            "topic": topic,
            "seq": logged.seq,
            "prev": logged.prev,
            "time": logged.time_us,
            "event": event.type,
            "data": event.data,
            "sender": event.sender,
            "redelivered": redelivered,
        }
        return _to_json(found)
    numbers = (KIND, sub, topic, logged.seq, logged.prev, logged.time_us)
    return _to_msgpack((*numbers, event.type, event.data, event.sender, redelivered))


class TotalBytes:
    """Of all logs together."""

    def __init__(self) -> None:
        self.bytes = 0


def _holds_nobody(sink: Sink, since: int) -> bool:
    return False


class EventLog:
    """``sub`` is the number of the composed topic, ``floor`` the number after which nothing is missing here."""

    def __init__(self, topic: str, total: TotalBytes) -> None:
        self.topic = topic
        self.sub = 0
        self.floor = 0
        self.newest = self.newest_us = 0
        """Number and time of the newest event."""
        self.holds: Callable[[Sink, int], bool] = _holds_nobody
        """Called with who reads again, and the number that it has; True: it is brought up to date by itself."""
        self.sent = 0
        """The number up to which all in step were sent it."""
        self._events: list[LoggedEvent] = []  # not a deque, which takes 760 bytes empty: most logs are
        self._bytes = 0
        self._total = total

    def __len__(self) -> int:
        return len(self._events)

    def begin(self, newest: int) -> None:
        """Nothing is known of what came up to this number."""
        self.floor = self.newest = self.sent = newest

    def append(self, message: Numbered, event: Event) -> LoggedEvent:
        logged = LoggedEvent(message, self.newest, event)
        self.newest = logged.seq
        self.newest_us = logged.time_us
        self._events.append(logged)
        self._count(logged.size)
        self._trim()
        return logged

    def _count(self, size: int) -> None:
        self._bytes += size
        self._total.bytes += size

    def _trim(self) -> None:
        most = MOST_BYTES if self._total.bytes <= MOST_BYTES_OF_ALL else LEAST_BYTES
        while len(self._events) > MOST_EVENTS or (self._bytes > most and len(self._events) > 1):
            oldest = self._events.pop(0)
            self.floor = oldest.seq
            self._count(-oldest.size)

    def clear(self) -> None:
        """It is not used any more."""
        self._events.clear()
        self._count(-self._bytes)

    # ---- the source of a composed topic

    def reaches(self, since: int) -> bool:
        return since >= self.floor

    def missing(self, format: int, since: int | None) -> Sequence[bytes]:
        """The messages after a number, as far as they are here: who lacks others sees by ``prev`` that something is missing."""
        return [self.message(format, each) for each in self.after(since or 0)]

    def after(self, since: int) -> list[LoggedEvent]:
        """The events beyond a number that were sent."""
        if not self._events or since >= self.newest:
            return []
        if since < self.floor or len(self._events) < 4:
            found: Iterable[LoggedEvent] = self._events
        else:
            found = islice(self._events, self._first_after(since), None)
        return [each for each in found if since < each.seq <= self.sent]

    def _first_after(self, since: int) -> int:
        """Where in the log: from the end, as it is asked for the newest as a rule."""
        newest = self._events[-1]
        if newest.prev <= since:
            return len(self._events) - 1
        return bisect_right(self._events, since, key=_seq_of)

    def message(self, format: int, logged: LoggedEvent) -> bytes:
        """For who gets it for the first time."""
        made = logged.made[format]
        if made is None:
            made = logged.made[format] = encode(format, self.sub, self.topic, logged, redelivered=False)
        return made


def _seq_of(logged: LoggedEvent) -> int:
    return logged.seq
