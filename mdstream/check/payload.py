"""Reads payloads, and says of those that the contract refuses which field, byte and value it is about."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgpack

from mdstream.errors import PayloadError
from mdstream.wording import written

SHOWN = 60
"""Characters of a value that are shown."""

_MESSAGE = re.compile(r"\w+ payload, value \d+, (.+), byte \d+: (.+)", re.DOTALL)
_BOUND = re.compile(r"must be -?\d+ to -?\d+|bytes are more than|bytes long, more than")
_RULES = (
    ("float", re.compile("must be an integer, not a float")),
    ("binary", re.compile("must be .*, not binary")),
    ("fields", re.compile(r"has \d+ fields|is missing|stands twice")),
    ("state", re.compile("is none of")),
    ("bounds", _BOUND),
    ("type", re.compile("must be an? .*, not (an?|nil)\\b")),
    ("numbering", re.compile("is less than first")),
    ("levels", re.compile("no pairs of ticks and lots")),
)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a payload is refused."""

    rule: str
    field: str
    byte: int
    value: str
    said: str


def refusal(stream: str, payload: bytes, error: PayloadError) -> Refusal:
    """What a PayloadError of ``decode_payload`` means for the one who wrote the payload."""
    found = _MESSAGE.fullmatch(str(error))
    field, why = (found[1], found[2]) if found else ("the value", str(error))
    byte = max(error.offset, 0)
    if _is_json(payload):
        return Refusal("json", field, byte, _shown(payload.decode()), "the payload is JSON text")
    for magic, name in _COMPRESSED.items():
        if payload.startswith(magic):
            return Refusal(
                "compressed", field, 0, _shown(payload[:8].hex(" ")), f"the payload is compressed ({name})"
            )
    return Refusal(_rule(stream, field, why), field, byte, _value_at(payload, byte), why)


def loose_numbers(stream: str, payload: bytes) -> list[tuple[int, int, int]] | None:
    """Epoch, first and last number of each value of a refused ``book`` or ``trade`` payload; None if they cannot be told."""
    last = 3 if stream == "book" else 2
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="replace")
    unpacker.feed(payload)
    try:
        found = [(int(value[1]), int(value[2]), int(value[last])) for value in unpacker]
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, msgpack.UnpackException):
        return None
    return found or None


def _rule(stream: str, field: str, why: str) -> str:
    if field == "type":
        return "tag"
    if stream == "ref" and field == "epoch" and "missing" in why:
        return "ref_epoch"
    if field == "heard" and "later than" in why:
        return "heard_ahead"
    if "lots" in field and "not -" in why:
        return "negative_size"
    if stream == "snap" and "lots" in field and why.endswith("not 0"):
        return "snap_order"
    if "of level" in field and "not an array" in why:
        return "levels"
    return next((rule for rule, pattern in _RULES if pattern.search(why)), "encoding")


def _is_json(payload: bytes) -> bool:
    if payload[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(payload)
    except ValueError:
        return False
    return True


def _value_at(payload: bytes, byte: int) -> str:
    rest = payload[byte:]
    unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="replace", timestamp=3)
    unpacker.feed(rest)
    try:
        value: Any = unpacker.unpack()
    except (ValueError, msgpack.UnpackException):
        return f"bytes {rest[:8].hex(' ')}" if rest else "nothing"
    return _shown(written(value))


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
