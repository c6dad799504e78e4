"""Mutations of known inputs, for the short run; the long one is libFuzzer's."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = [
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\xc1", b"\r\n", b"\r\n\r\n", b":", b",", b'"', b"\\", b"{", b"[",
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\x00" * 7,
    b"\x7e\xff\xff", b"\x7f" + b"\xff" * 8, b"\xed\xa0\x80", b"9" * 25, b"1e999", b"\\ud800",
]  # fmt: skip


def mutated(chance: random.Random, seeds: Sequence[bytes], longest: int) -> bytes:
    """One of the seeds with one to six changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        change(chance, data, seeds)
    return bytes(data[:longest])


def change(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((0, 1, 1, 2, 4, 16)))
    match chance.randint(0, 5):
        case 0:
            data[at:end] = chance.randbytes(end - at)
        case 1:
            del data[at:end]
        case 2:
            data[at:at] = data[at:end]
        case 3:
            data[at:end] = chance.choice(INTERESTING)
        case 4:
            other = chance.choice(seeds)
            start = chance.randint(0, len(other))
            data[at:end] = other[start : start + chance.randint(1, 40)]
        case _:
            if at < len(data):
                data[at] ^= 1 << chance.randint(0, 7)
