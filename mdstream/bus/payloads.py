"""The numbers of payloads that a reader itself must know; the core decodes everything else."""

from __future__ import annotations

from typing import Literal

import msgpack

from mdstream._core.codec.feed_decoder import decode_payload
from mdstream.errors import PayloadError
from mdstream.model import MAX_NUMBER

HEAD_BYTES = 64


def snap_number(payload: bytes) -> tuple[int, int]:
    """Epoch and seq of a ``snap`` payload, from its head alone, which is enough for most live snapshots. Raises PayloadError."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload[:HEAD_BYTES])
    try:
        size = unpacker.read_array_header()
        kind, epoch, seq = (unpacker.unpack() for _ in range(3))
    except (ValueError, msgpack.UnpackException) as error:
        decode_payload("snap", payload)  # says which field of which value is wrong, at which byte
        raise PayloadError(f"the head of the snap cannot be read: {error!r}") from error
    if (size, kind) != (6, 2) or not _is_number(epoch) or not _is_number(seq):
        decode_payload("snap", payload)
        raise PayloadError(
            f"snap starts with {kind!r}, {epoch!r}, {seq!r}; it must read [2, epoch, seq, ts, bids, asks]"
        )
    return epoch, seq


def numbers(stream: Literal["book", "trade"], payload: bytes) -> list[tuple[int, int, int]]:
    """Epoch, first and last number of each value, in order. Raises PayloadError."""
    if stream == "book":
        return [(value.epoch, value.first, value.last) for value in decode_payload("book", payload)]
    return [(value.epoch, value.seq, value.seq) for value in decode_payload("trade", payload)]


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
