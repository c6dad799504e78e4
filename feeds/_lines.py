"""Reads recordings that are files of lines, and finds the scale of their decimal numbers."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from mdstream.errors import FeedError


def read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (place, line) of a file. The first bytes, not the name, tell whether it is gzipped.

    Raises FeedError if the gzip data is damaged, OSError if the file cannot be read.
    """
    with path.open("rb") as probe:
        gzipped = probe.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if gzipped else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line := line.strip():
                    yield f"{path}, line {number}", line
        except (EOFError, gzip.BadGzipFile) as error:
            raise FeedError(f"{path}: the gzip data is damaged or cut short: {error}") from None


def exponent(text: str) -> int:
    """The exponent of a decimal as written, at most 0: −8 for 1.50000000. Raises FeedError if it is not a finite number."""
    try:
        number = Decimal(text).as_tuple().exponent
    except InvalidOperation:
        raise FeedError(f"{text!r} is not a decimal number") from None
    if not isinstance(number, int):
        raise FeedError(f"{text!r} is not finite")
    return min(number, 0)


def exact_exponent(texts: Iterable[str]) -> int:
    """The greatest exponent ≤ 0 that holds every number exactly: −2 for 61837.63000000 and 61840.10000000."""
    return min((exponent(_without_zeros(text)) for text in texts), default=0)


def _without_zeros(text: str) -> str:
    return text.rstrip("0") if "." in text and "e" not in text.lower() else text
