"""What a reader itself must know of payloads: reference data, status, and the numbers that others carry.

Books and trades are decoded by the core; here only as much is read as deciding what to ask for takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from mdstream.errors import PayloadError
from mdstream.model import MAX_EXPONENT, MAX_NUMBER, Ref, VenueState

REF_KEYS = frozenset(("price_exp", "size_exp", "tick", "lot", "name"))
STATES = tuple(state.value for state in VenueState)
HEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Status:
    epoch: int
    ts_us: int
    state: VenueState
    reason: str


def decode_ref(payload: bytes) -> Ref:
    """Reads a ``ref`` payload; unknown keys go to ``extra``. Raises PayloadError."""
    fields = _unpack(payload, "ref")
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise PayloadError(f"ref was {fields!r}; it is a map with string keys")
    name = fields.get("name", "")
    if not isinstance(name, str):
        raise PayloadError(f"ref: name was {name!r}; it is a string")
    return Ref(
        price_exp=_integer(fields, "price_exp", -MAX_EXPONENT, MAX_EXPONENT),
        size_exp=_integer(fields, "size_exp", -MAX_EXPONENT, MAX_EXPONENT),
        tick=_integer(fields, "tick", 1, MAX_NUMBER, 1),
        lot=_integer(fields, "lot", 1, MAX_NUMBER, 1),
        name=name,
        extra={key: value for key, value in fields.items() if key not in REF_KEYS},
    )


def decode_status(payload: bytes) -> Status:
    """Reads a ``status`` payload: ``[5, epoch, ts, state, reason]``. Raises PayloadError."""
    value = _unpack(payload, "status")
    match value:
        case [5, int(epoch), int(ts_us), str(state), str() | None as reason] if state in STATES:
            return Status(epoch, ts_us, VenueState(state), reason or "")
    raise PayloadError(
        f"status was {value!r}; it is [5, epoch, ts, state, reason], state one of {' '.join(STATES)}"
    )


def snap_number(payload: bytes) -> tuple[int, int]:
    """Epoch and seq of a ``snap`` payload, from its head alone. Raises PayloadError."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload[:HEAD_BYTES])
    try:
        size = unpacker.read_array_header()
        kind, epoch, seq = (unpacker.unpack() for _ in range(3))
    except (ValueError, msgpack.UnpackException) as error:
        raise PayloadError(f"snap has no head that can be read: {error!r}") from error
    if (size, kind) != (6, 2) or not _is_number(epoch) or not _is_number(seq):
        raise PayloadError(
            f"snap began with {kind!r}, {epoch!r}, {seq!r}; it is [2, epoch, seq, ts, bids, asks]"
        )
    return epoch, seq


def numbers(payload: bytes) -> list[tuple[int, int, int]]:
    """Epoch, first and last of each value in a ``book`` or ``trade`` payload, in order. Raises PayloadError."""
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(payload)
    found = []
    try:
        for value in unpacker:
            match value:
                case [1, int(epoch), int(first), int(last), *_]:
                    found.append((epoch, first, last))
                case [3, int(epoch), int(seq), *_]:
                    found.append((epoch, seq, seq))
                case _:
                    raise PayloadError(
                        f"value {len(found)} is neither a book update nor a trade", value=len(found)
                    )
    except (ValueError, msgpack.UnpackException) as error:
        raise PayloadError(f"value {len(found)} cannot be read: {error!r}", value=len(found)) from error
    if not found:
        raise PayloadError("the payload holds no value")
    return found


def _unpack(payload: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise PayloadError(f"{what} is not one MessagePack value: {error!r}") from error


def _integer(fields: dict[str, Any], key: str, least: int, greatest: int, default: int | None = None) -> int:
    value = fields.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= greatest:
        raise PayloadError(f"ref: {key} was {value!r}; it is an integer from {least} to {greatest}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
