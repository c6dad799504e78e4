"""Control messages on the wire, both ways and in both formats: bytes ↔ plain Python objects.

What arrives is hostile. Decoding is bounded in size, length and nesting, refuses what would be ambiguous (a key given twice) or
could not be echoed (NaN, infinities, lone surrogates in JSON), and raises nothing but CommandError ``bad_command``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgpack
import msgspec

from mdstream._core.codec.duplicate_keys import count_json_keys, count_keys, count_msgpack_keys
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

JSON: Final = 0
MSGPACK: Final = 1

Message = dict[str, Any]

_SHORT = 4096
"""Longer messages are rare, and may hold numbers of more digits than Python likes to read."""


def encode(format: int, message: Message) -> bytes:
    """The bytes of a control message: ``json.dumps`` without spaces, or ``msgpack.packb``, keys in the order given.

    Raises ValueError, RecursionError or OverflowError for what cannot be encoded (only an echoed ``data`` can hold that).
    """
    if "data" in message:
        # A client's own: floating-point numbers and extension types as these libraries write them.
        return _JSON_ENCODER.encode(message).encode() if format == JSON else bytes(msgpack.packb(message))
    return msgspec.json.encode(message) if format == JSON else msgspec.msgpack.encode(message)


def decode(format: int, payload: bytes) -> Iterator[object]:
    """The values of one WebSocket message: exactly one in JSON, one or more in MessagePack.

    Raises CommandError where a value cannot be decoded; values before it have been yielded by then.
    """
    if len(payload) <= _SHORT:
        value = _decode_plain(format, payload)
        if value is not None:
            return iter((value,))
    return _decode_json(payload) if format == JSON else _decode_msgpack(payload)


def _decode_plain(format: int, payload: bytes) -> object:
    """One value of the kind that commands are, without a key given twice; None for anything else, which the strict way judges."""
    try:
        if format == JSON:
            value = msgspec.json.decode(payload)
            keys = count_json_keys(payload)
        else:
            value = msgspec.msgpack.decode(payload)
            keys = count_msgpack_keys(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if count_keys(value) == keys else None


def _decode_json(payload: bytes) -> Iterator[object]:
    try:
        text = payload.decode()
        value = _JSON_DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            # The escape of half a surrogate pair: text that has no UTF-8 and could never be echoed.
            _JSON_ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise _bad("not valid JSON: a string holds a lone surrogate") from None
    except RecursionError:
        raise _bad("not valid JSON: nested too deep") from None
    except ValueError as error:
        raise _bad(f"not valid JSON: {error}") from None
    yield value


def _decode_msgpack(payload: bytes) -> Iterator[object]:
    size = max(len(payload), 1)
    unpacker = msgpack.Unpacker(
        raw=False, strict_map_key=True, object_pairs_hook=_unique_keys, max_buffer_size=size
    )
    # Announced lengths are believed, and room made for them, before their content is seen: so first a look, which builds nothing.
    looker = msgpack.Unpacker(max_buffer_size=size)
    unpacker.feed(payload)
    looker.feed(payload)
    done = 0
    while True:
        try:
            looker.skip()
            value = unpacker.unpack()
        except msgpack.OutOfData:
            break
        except msgpack.StackError:
            raise _bad(f"not valid MessagePack at byte {done}: nested too deep") from None
        except (ValueError, RecursionError) as error:
            raise _bad(
                f"not valid MessagePack in the value at byte {done}: {str(error) or 'no such type'}"
            ) from None
        done = unpacker.tell()
        yield value
    if done < len(payload):
        raise _bad(f"not valid MessagePack: the value at byte {done} is cut short")
    if not payload:
        raise _bad("the message is empty; a command is a map with `op`")


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if not all(isinstance(key, str) for key in found):
        raise ValueError("the keys of a map must be strings")
    if len(found) != len(pairs):
        raise ValueError(f"the key {shown(first_repeated(key for key, _ in pairs))} is given twice")
    return found


def first_repeated(items: Iterable[object]) -> object:
    """The first item that was there before, None if there is none; linear, for lists from outside."""
    seen: set[object] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _bad(message: str) -> CommandError:
    return CommandError(ErrorCode.BAD_COMMAND, message)


def shown(value: object) -> str:
    """A value from outside as it may stand in a message: short, printable."""
    text = ascii(value) if not isinstance(value, str) else ascii(value[:64])
    return text if len(text) <= 72 else text[:69] + "…"


_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_JSON_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_no_constant
)
