"""Events on the bus: how a message of MD_EVENTS looks, and how it is published so that its number is known.

``ev.<topic>`` holds a map, in MessagePack or as a JSON object: ``{"type": "notice", "data": …, "sender": "alice"}``. ``data`` is what JSON
can hold; ``sender`` may be missing. What comes from the bus is untrusted, and read within bounds.
"""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import nats.errors

from mdstream._core.codec.duplicate_keys import is_deep_json, is_deep_msgpack, is_plain
from mdstream.bus.stream_publisher import Outcome
from mdstream.bus.streams import explain
from mdstream.bus.topic_streams import EVENT_SUBJECT, MD_EVENTS
from mdstream.errors import PayloadError
from mdstream.wording import explained

if TYPE_CHECKING:
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


_from_json = msgspec.json.Decoder(_Told).decode
_from_msgpack = msgspec.msgpack.Decoder(_Told).decode


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
    if is_plain(data, MAX_NESTING):
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
        raise PayloadError(f"this is no event: {explained(error)}") from None
    if told.sender is not None and (len(told.sender) > MAX_SENDER or not told.sender.isprintable()):
        raise PayloadError(f"sender must be at most {MAX_SENDER} printable characters")
    return Event(told.type, told.data, told.sender)


def message_id(subject: str, topic: str, key: str) -> str:
    """By which the server recognises an event that comes again."""
    return sha256("\0".join((subject, topic, key)).encode()).hexdigest()[:32]


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
