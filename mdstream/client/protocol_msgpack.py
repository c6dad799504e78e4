"""The MessagePack format: data messages are arrays, control messages are maps. A WebSocket message holds one or more of them."""

from __future__ import annotations

import logging
from typing import Any, cast

import msgpack
import msgspec

from mdstream.client.events import Control, Data, Event
from mdstream.client.protocol import Command
from mdstream.errors import ProtocolViolation
from mdstream.wording import explained, kind_of

log = logging.getLogger(__name__)

DATA_TAGS = frozenset({1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13})
CONTROL_TAGS = frozenset(message.__struct_config__.tag for message in Control.__args__)


class MsgpackCodec:
    """Decodes a single data message, the usual case, in one typed pass; decodes anything else value by value."""

    subprotocol = "mdstream.v1.msgpack"
    binary = True

    def __init__(self) -> None:
        self._data: msgspec.msgpack.Decoder[Data] = msgspec.msgpack.Decoder(cast(Any, Data))
        self._encoder = msgspec.msgpack.Encoder()

    def decode(self, payload: bytes) -> list[Event]:
        try:
            return [self._data.decode(payload)]
        except msgspec.DecodeError:
            return self._decode_values(payload)

    def encode(self, command: Command) -> bytes:
        return self._encoder.encode(command)

    def _decode_values(self, payload: bytes) -> list[Event]:
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=max(len(payload), 1))
        unpacker.feed(payload)
        events: list[Event] = []
        values = end = 0
        try:
            while end < len(payload):
                event = _typed(unpacker.unpack())
                if event is not None:
                    events.append(event)
                values, end = values + 1, unpacker.tell()
        except msgpack.OutOfData as error:
            raise _violation(payload, values, "it is cut short") from error
        except (ValueError, msgpack.UnpackException, msgspec.ValidationError) as error:
            raise _violation(payload, values, explained(error) or "it is no MessagePack") from error
        return events


def _violation(payload: bytes, value: int, what: str) -> ProtocolViolation:
    return ProtocolViolation(f"value {value} of a MessagePack message of {len(payload)} bytes: {what}")


def _typed(value: Any) -> Event | None:
    """The event of one decoded value; None if its type is unknown."""
    if isinstance(value, list) and value and type(value[0]) is int:
        if value[0] in DATA_TAGS:
            return cast(Event, msgspec.convert(value, cast(Any, Data)))
        log.debug("ignoring a data message of unknown type %d", value[0])
        return None
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        if value["type"] in CONTROL_TAGS:
            return cast(Event, msgspec.convert(value, cast(Any, Control)))
        log.debug("ignoring a message of unknown type %r", value["type"])
        return None
    raise ValueError(f"it is neither a data array nor a map with a type, but {kind_of(value)}")
