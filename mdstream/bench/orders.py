"""What the runner and the processes of a load test say to each other: a line of JSON each way, order and answer in turn.

A process does what it was told until it can read the next order from its standard input; the compiled loops look at that
descriptor too, so nobody waits for a timer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mdstream.errors import MdstreamError

ORDERS_FD = 0
ANSWERS_FD = 1
HOUR_S = 3600.0

Order = dict[str, Any]
Handler = Callable[[Order], Mapping[str, Any] | None]


def obey(handlers: Mapping[str, Handler], meanwhile: Callable[[], object] | None = None) -> int:
    """Carries out orders (``{"do": name, …}``) until there are no more, and returns the exit code.

    ``meanwhile`` is called between orders; it returns when one has come. An error that is ours is the answer, ``{"error": text}``,
    and the end.
    """
    lines = _Lines()
    while True:
        try:
            if meanwhile is not None:
                meanwhile()
            order = lines.next()
            if order is None:
                return 0
            answer = handlers[order.pop("do")](order) or {}
        except MdstreamError as error:
            _say({"error": str(error)})
            return 1
        _say(answer)


def _say(answer: Mapping[str, Any]) -> None:
    data = msgspec.json.encode(answer) + b"\n"
    while data:
        data = data[os.write(ANSWERS_FD, data) :]


class _Lines:
    def __init__(self) -> None:
        self._buffer = b""

    def next(self) -> Order | None:
        """The next order; waits for it. None when the runner is gone, or wants no more."""
        while b"\n" not in self._buffer:
            data = os.read(ORDERS_FD, 65_536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        order: Order = msgspec.json.decode(line)
        return order


def main(handlers: Mapping[str, Handler], meanwhile: Callable[[], object] | None = None) -> None:
    """``obey`` for a module that is run as a program."""
    sys.exit(obey(handlers, meanwhile))
