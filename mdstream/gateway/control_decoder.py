"""The strict decoder of what clients send: bytes in either format to plain Python objects.

What arrives is hostile. Decoding is bounded in size, length and nesting, refuses what would be ambiguous (a key given twice) or
could not be echoed (NaN, infinities, lone surrogates in JSON), and raises nothing but CommandError ``bad_command``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgpack

from mdstream._core.codec.duplicate_keys import (
    count_json_values,
    count_msgpack_values,
    is_deep_json,
    is_deep_msgpack,
)
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.wording import kind_of, shown

JSON: Final = 0
MSGPACK: Final = 1

MAX_VALUES: Final = 20_000
"""In one command, those within others included. A map counts as ten, as it takes as long to decode."""
MOST_DEEP: Final = 512
"""Lists and maps within each other. Python's reader, and what echoes them, recurse: at their limit whatever else runs, such as a callback
of the garbage collector, would fail too."""


def decode_strictly(format: int, payload: bytes, max_values: int = MAX_VALUES) -> Iterator[object]:
    """The values of one WebSocket message: exactly one in JSON, one or more in MessagePack.

    Raises CommandError where a value cannot be decoded, or holds more than ``max_values`` others; values before it have been
    yielded by then.
    """
    decode = _decode_json if format == JSON else _decode_msgpack
    return decode(payload, max_values)


def _decode_json(payload: bytes, max_values: int) -> Iterator[object]:
    found = count_json_values(payload)
    _check_values(found, max_values)
    if found > MOST_DEEP and is_deep_json(payload):
        raise _bad("not valid JSON: nested too deep")
    try:
        text = payload.decode()
        value = _JSON_DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            # The escape of half a surrogate pair: such text has no UTF-8 and could not be echoed.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _bad("not valid JSON: a string holds a lone surrogate") from None
    except UnicodeDecodeError as error:
        raise _bad(f"not valid JSON: byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise _bad(f"not valid JSON: {_readable(error)}") from None
    yield value


def _check_values(values: int, most: int) -> None:
    if values > most:
        raise _bad(f"a command holds more than {most} values, where a map counts as ten")


def _decode_msgpack(payload: bytes, max_values: int) -> Iterator[object]:
    size = max(len(payload), 1)
    unpacker = msgpack.Unpacker(
        raw=False, strict_map_key=False, object_pairs_hook=_unique_keys, max_buffer_size=size
    )
    # An unpacker trusts an announced length and makes room for it before it sees the content: so skip first, which builds nothing.
    looker = msgpack.Unpacker(max_buffer_size=size)
    unpacker.feed(payload)
    looker.feed(payload)
    done = 0
    while True:
        try:
            looker.skip()
            found = count_msgpack_values(payload, done, looker.tell())
            _check_values(found, max_values)
            if found > MOST_DEEP and is_deep_msgpack(payload, done, looker.tell()):
                raise msgpack.StackError
            value = unpacker.unpack()
        except msgpack.OutOfData:
            break
        except msgpack.StackError:
            raise _bad(f"not valid MessagePack at byte {done}: nested too deep") from None
        except ValueError as error:
            raise _bad(f"not valid MessagePack in the value at byte {done}: {_readable(error)}") from None
        done = unpacker.tell()
        yield value
    if done < len(payload):
        raise _bad(f"not valid MessagePack: the value at byte {done} is cut short")
    if not payload:
        raise _bad("the message is empty; a command is a map with `op`")


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    for key, _ in pairs:
        if not isinstance(key, str):
            raise ValueError(f"a key of a map must be a string, not {kind_of(key)}")
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"the key {shown(first_repeated(key for key, _ in pairs))} is given twice")
    return found


def first_repeated(items: Iterable[object]) -> object:
    """The first item that repeats an earlier one, None if there is none; in linear time, because the list comes from outside."""
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


def _readable(error: ValueError) -> str:
    """What Python and msgpack say in words of their own."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return "a string is not UTF-8"
    if "set_int_max_str_digits" in text:
        return "an integer has too many digits"
    return text or "no such type"


_JSON_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_float=_finite, parse_constant=_no_constant
)
