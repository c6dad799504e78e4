"""How the runner and the processes of a load test talk: an order is a line of JSON, and so is its answer.

Between orders a process does its work. The compiled loops also watch the descriptor of the orders, so no order waits for a
timer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec

from mdstream.errors import MdstreamError

ORDERS_FD = 0
ANSWERS_FD = 1
HOUR_S = 3600.0

Order = dict[str, Any]
Handler = Callable[[Order], Mapping[str, Any] | None]


def main(handlers: Mapping[str, Handler], meanwhile: Callable[[], object] | None = None) -> NoReturn:
    """Carries out orders (``{"do": name, …}``) until stdin ends, then exits.

    ``meanwhile`` is called between orders; it returns when one has arrived. An MdstreamError is answered with
    ``{"error": text}`` and ends the process.
    """
    lines = _Lines()
    while True:
        try:
            if meanwhile is not None:
                meanwhile()
            order = lines.next()
            if order is None:
                sys.exit(0)
            answer = handlers[order.pop("do")](order) or {}
        except MdstreamError as error:
            _answer({"error": str(error)})
            sys.exit(1)
        _answer(answer)


def _answer(answer: Mapping[str, Any]) -> None:
    data = msgspec.json.encode(answer) + b"\n"
    while data:
        data = data[os.write(ANSWERS_FD, data) :]


class _Lines:
    def __init__(self) -> None:
        self._buffer = b""

    def next(self) -> Order | None:
        """Waits for the next order and returns it; None when stdin has ended."""
        while b"\n" not in self._buffer:
            data = os.read(ORDERS_FD, 65_536)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        order: Order = msgspec.json.decode(line)
        return order
