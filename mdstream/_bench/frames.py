"""WebSocket frames (RFC 6455 section 5.2) of the few messages that the floor takes and gives one at a time."""

from __future__ import annotations


def framed(opcode: int, payload: bytes) -> bytes:
    """One whole unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def first_frame(come: bytes) -> tuple[int, bytes, int]:
    """The first masked frame of what a client sent: its opcode, its payload, and its size, which is 0 if it is not whole yet."""
    if len(come) < 6:
        return 0, b"", 0
    length, head = come[1] & 0x7F, 6
    if length >= 126:
        head = 8 if length == 126 else 14
        length = int.from_bytes(come[2 : head - 4], "big")
    if len(come) < head + length:
        return 0, b"", 0
    mask = (come[head - 4 : head] * (length // 4 + 1))[:length]
    payload = int.from_bytes(come[head : head + length], "big") ^ int.from_bytes(mask, "big")
    return come[0] & 15, payload.to_bytes(length, "big"), head + length
