"""A tap without a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers


def _unexpected(what: Any) -> None:
    raise AssertionError(f"the tap did not take {what!r}")


def tapping(
    handlers: Handlers,
    pass_on: Callable[[bytes], object] = _unexpected,
    on_fault: Callable[[Exception], object] = _unexpected,
    counters: dict[str, int] | None = None,
) -> NatsTap:
    """Give it bytes as NATS sends them."""
    if counters is None:
        counters = {"in_msgs": 0, "in_bytes": 0}
    return NatsTap(handlers, counters, pass_on, on_fault)
