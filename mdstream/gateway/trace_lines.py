"""What a trace shows of the messages of a session, without I/O: a line for each, with its content only where that is asked for."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgpack
import msgspec

Line = dict[str, Any]

WHOLE_BYTES: Final = 16_384
"""A longer message is read at its beginning and its end alone."""
_BEGINNING: Final = 512
_END: Final = 64
_TEXT, _BINARY = 1, 2
_CONTROL: Final = {8: "close", 9: "ping", 10: "pong"}
_RSV1: Final = 0x40
_TAIL: Final = b"\x00\x00\xff\xff"
"""Of a compressed message, left out by the sender (RFC 7692 section 7.2.1)."""

_ARRAYS: Final = {
    1: ("delta", ("sub", "first", "last", "ts")),
    2: ("snapshot", ("sub", "epoch", "seq", "ts", "", "", "", "reason")),
    3: ("trades", ("sub", "epoch", "first", "last")),
    4: ("ticker", ("sub", "epoch", "seq", "ts")),
    5: ("heartbeat", ("time",)),
    7: ("board_names", ("sub",)),
    8: ("board_snapshot", ("sub", "epoch", "seq", "ts")),
    9: ("board", ("sub", "first", "last", "ts")),
    10: ("candles", ("sub",)),
    11: ("event", ("sub", "topic", "seq", "prev", "time", "event")),
    12: ("map", ("sub", "prev", "seq", "page", "pages")),
    13: ("presence", ("sub", "prev", "seq", "page", "pages", "count")),
}
"""Data messages in MessagePack: the name of their type, and of the values that follow it."""
_SHOWN: Final = frozenset(
    (
        *(
            "op",
            "type",
            "id",
            "sub",
            "subs",
            "from",
            "epoch",
            "seq",
            "first",
            "last",
            "ts",
            "time",
            "channel",
        ),
        *(
            "instrument",
            "depth",
            "group",
            "interval_ms",
            "resumed",
            "reason",
            "state",
            "code",
            "age_ms",
            "session",
        ),
        *("reconnect_after_ms", "deadline_ms", "expires"),
    )
)
"""What is shown of a message without its content: scalars, never a price, a size or a token."""
_MOST_NAMES: Final = 5
_SCALAR = (str, int, float, bool)
_PAIR = re.compile(rb'"(\w+)":("(?:[^"\\]|\\.)*"|-?\d+)')
_NESTED = re.compile(rb"[\[{]")
_SECRET: Final = "token"


class Frame(NamedTuple):
    """A WebSocket frame as it was sent. ``payload`` may be cut; ``size`` is that of the whole frame."""

    opcode: int
    is_compressed: bool
    size: int
    payload: bytes
    end: bytes
    """The last bytes of a payload that was cut; empty where it is whole."""


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of one write, which holds whole ones; unmasked, as a server sends them."""
    at = 0
    while at + 2 <= len(data):
        size, head = data[at + 1] & 0x7F, 2
        if size == 126:
            size, head = struct.unpack_from(">H", data, at + 2)[0], 4
        elif size == 127:
            size, head = struct.unpack_from(">Q", data, at + 2)[0], 10
        begin, stop = at + head, at + head + size
        is_whole = size <= WHOLE_BYTES
        payload = data[begin:stop] if is_whole else data[begin : begin + _BEGINNING]
        yield Frame(
            data[at] & 0x0F,
            bool(data[at] & _RSV1),
            head + size,
            payload,
            b"" if is_whole else data[stop - _END : stop],
        )
        at = stop


def sent(frame: Frame, *, bodies: bool) -> Line:
    """What went to the client."""
    line: Line = {"event": "out", "type": _CONTROL.get(frame.opcode, "?"), "bytes": frame.size}
    if frame.opcode not in (_TEXT, _BINARY):
        return line
    payload, is_whole = frame.payload, not frame.end
    if frame.is_compressed:
        line["compressed"] = True
        payload, fits = _inflated(payload)
        is_whole = is_whole and fits
    values = _values(frame.opcode == _TEXT, payload) if is_whole else None
    if values is None:
        line.update(_beginning(frame.opcode == _TEXT, payload, b"" if frame.is_compressed else frame.end))
        return line
    line.update(_summary(values[0]) if len(values) == 1 else {"type": "several", "messages": len(values)})
    if bodies:
        line["body"] = values[0] if len(values) == 1 else values
    return line


def received(payload: bytes, *, is_text: bool, bodies: bool) -> Line:
    """What came from the client: one message, which may hold several commands."""
    line: Line = {"event": "in", "bytes": len(payload)}
    values = _values(is_text, payload)
    if values is None:
        return {**line, "op": "?"}
    if len(values) == 1:
        line.update({"op": "?", **_summary(values[0])})
    else:
        line.update({"op": "several", "commands": len(values)})
    if bodies:
        line["body"] = _without_secrets(values[0] if len(values) == 1 else values)
    return line


def _inflated(payload: bytes) -> tuple[bytes, bool]:
    """The beginning of a compressed message; and whether that may be all."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        message = inflater.decompress(payload + _TAIL, WHOLE_BYTES + 1)
    except zlib.error:
        return b"", False
    return message, len(message) <= WHOLE_BYTES


def _values(is_text: bool, payload: bytes) -> list[Any] | None:
    """The values of a message; None where they cannot be read."""
    try:
        if is_text:
            return [msgspec.json.decode(payload)]
        unpacker = msgpack.Unpacker(max_buffer_size=WHOLE_BYTES * 4, strict_map_key=False)
        unpacker.feed(payload)
        return list(unpacker) or None
    except Exception:  # whatever a client sends: a trace never fails on it
        return None


def _beginning(is_text: bool, payload: bytes, end: bytes) -> Line:
    """What can be told of a message from its first bytes and its last."""
    if is_text:
        head = _NESTED.split(payload[1:_BEGINNING], maxsplit=1)[0]
        tail = end.rpartition(b"]")[2]
        found = {key.decode(): value for piece in (head, tail) for key, value in _PAIR.findall(piece)}
        return {key: msgspec.json.decode(value) for key, value in found.items() if key in _SHOWN}
    unpacker = msgpack.Unpacker(max_buffer_size=WHOLE_BYTES * 4, strict_map_key=False)
    unpacker.feed(payload[:_BEGINNING])
    try:
        count = unpacker.read_array_header()
        name, keys = _ARRAYS.get(unpacker.unpack(), ("?", ()))
        leading = keys[: keys.index("")] if "" in keys else keys
        return {"type": name, **{key: unpacker.unpack() for key in leading[: count - 1]}}
    except Exception:
        return {}


def _summary(value: Any) -> Line:
    if isinstance(value, Mapping):
        return _of_map(value)
    if isinstance(value, list) and value and isinstance(value[0], int):
        name, keys = _ARRAYS.get(value[0], (f"type {value[0]}", ("sub",)))
        pairs = zip(keys, value[1:], strict=False)
        return {"type": name, **{key: each for key, each in pairs if key and isinstance(each, _SCALAR)}}
    return {}


def _of_map(value: Mapping[Any, Any]) -> Line:
    line: Line = {key: each for key, each in value.items() if key in _SHOWN and isinstance(each, _SCALAR)}
    for key in ("instruments", "subs", "seqs"):
        items = value.get(key)
        if isinstance(items, list):
            line[key] = len(items)
    if isinstance(names := value.get("instruments"), list):
        line["names"] = [name for name in names[:_MOST_NAMES] if isinstance(name, str)]
    return line


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: "(hidden)" if key == _SECRET else each for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return value
