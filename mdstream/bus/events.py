"""Events on the bus: how a message of MD_EVENTS looks, and how it is published so that its number is known.

``ev.<topic>`` holds a map, in MessagePack or as a JSON object: ``{"type": "notice", "data": …, "sender": "alice"}``. ``data`` is what JSON
can hold; ``sender`` may be missing. What comes from the bus is untrusted, and read within bounds.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import nats.errors

from mdstream._core.codec.duplicate_keys import is_deep_json, is_deep_msgpack
from mdstream.bus.direct import NO_RESPONDERS, STATUS
from mdstream.bus.streams import explain
from mdstream.bus.topic_streams import EVENT_SUBJECT, MD_EVENTS
from mdstream.errors import BusError, PayloadError

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.connection import Bus

MAX_DATA_BYTES: Final = 16_384
"""Of ``data``, as JSON without spaces."""
MAX_PAYLOAD_BYTES: Final = 65_536
MAX_TYPE: Final = 64
"""Characters of ``type``."""
MAX_KEY: Final = 64
MAX_SENDER: Final = 256
MAX_NESTING: Final = 64
"""Lists and maps within each other in ``data``."""
DEADLINE_S: Final = 2.0
"""How long JetStream may take to store an event."""
MOST_WAITING: Final = 20_000
"""Events that wait for their numbers."""

_PLAIN: Final = (str, bool, type(None))
_LEAST, _MOST = -(2**63), 2**64 - 1
"""Integers that both formats have."""
_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class Event(NamedTuple):
    """What a message holds. ``sender`` None: somebody on the bus who did not say."""

    type: str
    data: Any
    sender: str | None


class _Told(msgspec.Struct):
    type: str
    data: Any
    sender: str | None = None


class _Failure(msgspec.Struct):
    description: str = ""


class _Stored(msgspec.Struct):
    """The server's answer to a published message."""

    seq: int = 0
    duplicate: bool = False
    error: _Failure | None = None


_from_json = msgspec.json.Decoder(_Told).decode
_from_msgpack = msgspec.msgpack.Decoder(_Told).decode
_read_stored = msgspec.json.Decoder(_Stored).decode


def event_subject(topic: str) -> str:
    return f"{EVENT_SUBJECT}.{topic}"


def check_event(type: str, data: Any) -> None:
    """Raises ValueError for what is no event, which says why."""
    if not 0 < len(type) <= MAX_TYPE or not type.isprintable():
        raise ValueError(f"event must be 1 to {MAX_TYPE} printable characters")
    check_data(data)
    try:
        size = len(_to_json(data))
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"data cannot be sent: {error}") from None
    if size > MAX_DATA_BYTES:
        raise ValueError(f"data has {size} bytes as JSON; at most {MAX_DATA_BYTES} are allowed")


def check_data(data: Any) -> None:
    """Raises ValueError for what JSON cannot hold, or what is nested too deep."""
    if isinstance(data, _PLAIN):
        return
    left = [(data, 1)]
    while left:
        value, depth = left.pop()
        if isinstance(value, _PLAIN):
            continue
        if isinstance(value, int | float):
            if not (_LEAST <= value <= _MOST if isinstance(value, int) else math.isfinite(value)):
                raise ValueError("data holds a number that is not finite, or an integer beyond 64 bits")
            continue
        if depth > MAX_NESTING:
            raise ValueError(f"data is nested deeper than {MAX_NESTING}")
        if isinstance(value, list):
            left += [(each, depth + 1) for each in value]
        elif isinstance(value, dict) and all(type(key) is str for key in value):
            left += [(each, depth + 1) for each in value.values()]
        else:
            raise ValueError("data holds what JSON has not; bytes can be sent as base64")


def encode_event(event: Event) -> bytes:
    """Of one that was checked."""
    return _to_msgpack({"type": event.type, "data": event.data, "sender": event.sender})


def decode_event(payload: bytes) -> Event:
    """Raises PayloadError."""
    if not 0 < len(payload) <= MAX_PAYLOAD_BYTES:
        raise PayloadError(f"an event has 1 to {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
    try:
        if payload[0] in b"{ \t\r\n":
            told = None if is_deep_json(payload) else _from_json(payload)
        else:
            told = None if is_deep_msgpack(payload, 0, len(payload)) else _from_msgpack(payload)
        if told is None:
            raise ValueError("it is nested too deep")
        check_event(told.type, told.data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PayloadError(f"this is no event: {error}") from None
    if told.sender is not None and (len(told.sender) > MAX_SENDER or not told.sender.isprintable()):
        raise PayloadError(f"sender must be at most {MAX_SENDER} printable characters")
    return Event(told.type, told.data, told.sender)


def message_id(subject: str, topic: str, key: str) -> str:
    """By which the server recognises an event that comes again."""
    return sha256("\0".join((subject, topic, key)).encode()).hexdigest()[:32]


class Outcome(NamedTuple):
    """What became of an event: its number in the stream, or why it is not known to be stored."""

    seq: int
    duplicate: bool
    failed: str | None


Done = Callable[[Outcome], object]


class _Waiting(NamedTuple):
    until_s: float
    done: Done


class EventPublisher:
    """Publishes events in the order of its calls. ``begin`` first; ``tick`` a few times a second; ``close`` at the end."""

    def __init__(
        self, bus: Bus, *, deadline_s: float = DEADLINE_S, missing: Callable[[], object] = lambda: None
    ) -> None:
        """``missing`` is called where there is no stream."""
        self._bus = bus
        self._missing = missing
        self._deadline_s = deadline_s
        self._inbox = bus.new_inbox()
        self._subscription: Subscription | None = None
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        """In the order of time."""
        self._to_send: deque[tuple[int, str, bytes, dict[str, str]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Raises BusUnavailable."""
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(f"{self._inbox}.*", self._hear)

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        for number in list(self._waiting):
            self._finish(number, Outcome(0, False, "the gateway is stopping"))
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    def publish(self, topic: str, payload: bytes, id: str | None, done: Done) -> None:
        """``done`` is called once, later. ``id``: a ``message_id``."""
        if not self._bus.connected or len(self._waiting) >= MOST_WAITING:
            why = "too many events wait for their numbers" if self._bus.connected else "NATS is not connected"
            asyncio.get_running_loop().call_soon(done, Outcome(0, False, why))
            return
        headers = {"Nats-Expected-Stream": MD_EVENTS}
        if id is not None:
            headers["Nats-Msg-Id"] = id
        self._number += 1
        loop = asyncio.get_running_loop()
        self._waiting[self._number] = _Waiting(loop.time() + self._deadline_s, done)
        self._to_send.append((self._number, event_subject(topic), payload, headers))
        if self._sending is None:
            self._sending = loop.create_task(self._send())

    async def _send(self) -> None:
        while self._to_send:
            number, subject, payload, headers = self._to_send.popleft()
            try:
                await self._bus.publish(subject, payload, reply=f"{self._inbox}.{number}", headers=headers)
            except BusError as error:
                self._finish(number, Outcome(0, False, str(error)))
        self._sending = None

    def tick(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._waiting:
            number, waiting = next(iter(self._waiting.items()))
            if waiting.until_s > now_s:
                return
            self._finish(number, Outcome(0, False, f"JetStream did not answer within {self._deadline_s:g} s"))

    def _hear(self, subject: bytes, _: bytes, payload: bytes, headers: bytes | None) -> None:
        number = int(subject.rpartition(b".")[2])
        if headers is not None and headers.startswith(STATUS + NO_RESPONDERS):
            self._finish(number, Outcome(0, False, f"there is no stream {MD_EVENTS}"))
            self._missing()
            return
        try:
            stored = _read_stored(payload)
        except msgspec.MsgspecError:
            stored = _Stored(error=_Failure("its answer cannot be read"))
        if stored.error is not None:
            self._finish(number, Outcome(0, False, f"{MD_EVENTS}: {stored.error.description}"))
        else:
            self._finish(number, Outcome(stored.seq, stored.duplicate, None))

    def _finish(self, number: int, outcome: Outcome) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.done(outcome)


async def publish_event(bus: Bus, topic: str, event: Event, *, key: str | None = None) -> Outcome:
    """For programs on the bus: publishes one event and waits until it is stored. With ``key`` it is stored once.

    Raises ValueError for what is no event, BusError, BusUnavailable.
    """
    check_event(event.type, event.data)
    headers = {} if key is None else {"Nats-Msg-Id": message_id("", topic, key)}
    try:
        stored = await bus.jetstream.publish(
            event_subject(topic), encode_event(event), stream=MD_EVENTS, headers=headers
        )
    except (nats.errors.Error, TimeoutError) as error:
        explain(error, f"the event cannot be stored in {MD_EVENTS}")
    return Outcome(stored.seq, bool(stored.duplicate), None)
