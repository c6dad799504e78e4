"""What a device was sent, and what a publisher was told: lines of JSON that outlive a process that is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

LIFE: Final = "life"
"""A process begins: its number."""
RAW: Final = "raw"
"""An event on the wire: topic, number, whether it says that it is redelivered."""
EVENT: Final = "event"
"""An event as the application had it: topic, number, data."""
LOST: Final = "lost"
"""Told that events are gone: topic, first, last."""
STORED: Final = "stored"
"""An event that the publisher was told is stored: topic, data, number."""
PUT: Final = "put"
"""A change that the gateway said is stored: map, number."""
RAISED: Final = "raised"
"""A counter that was raised by compare-and-set: map."""
TRIED: Final = "tried"
"""A counter is about to be raised: map. Without RAISED or REFUSED after it, nobody knows whether it was."""
REFUSED: Final = "refused"
"""It was not: another one was faster: map."""


class Journal:
    """Each line is written at once, so that it is kept when the process is killed in the next moment."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def note(self, *fields: Any) -> None:
        self._file.write(json.dumps(fields).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[list[Any]]:
    """All lines; of one that was being written when the process was killed, nothing."""
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)
