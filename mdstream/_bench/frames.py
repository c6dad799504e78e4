"""The part of WebSocket (RFC 6455) that a load test does in Python: the handshake's key, and single frames (section 5.2)."""

from __future__ import annotations

import base64
import hashlib


def accept_key(key: bytes) -> bytes:
    """The ``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def framed(opcode: int, payload: bytes) -> bytes:
    """One complete unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def first_frame(received: bytes) -> tuple[int, bytes, int]:
    """The first masked frame from a client: opcode, payload and size; size 0 if it is not complete."""
    if len(received) < 6:
        return 0, b"", 0
    length, head = received[1] & 0x7F, 6
    if length >= 126:
        head = 8 if length == 126 else 14
        length = int.from_bytes(received[2 : head - 4], "big")
    if len(received) < head + length:
        return 0, b"", 0
    mask = (received[head - 4 : head] * (length // 4 + 1))[:length]
    payload = int.from_bytes(received[head : head + length], "big") ^ int.from_bytes(mask, "big")
    return received[0] & 15, payload.to_bytes(length, "big"), head + length
