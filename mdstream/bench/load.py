"""``python -m mdstream.bench.load``: one process of connections. It carries out the orders of the runner."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import msgspec

from mdstream._bench.histogram import Histogram
from mdstream._bench.plan import CHANNELS, Plan
from mdstream._bench.subscribers import Subscribers
from mdstream.bench import orders
from mdstream.bench.orders import HOUR_S, ORDERS_FD, Order
from mdstream.errors import BenchError


class Load:
    """Runs the connections between orders. Each method but ``live`` is an order."""

    def __init__(self) -> None:
        self._subscribers: Subscribers | None = None
        self._plan: Plan | None = None

    @property
    def _made(self) -> Subscribers:
        if self._subscribers is None:
            raise BenchError("load: there is no plan yet")
        return self._subscribers

    def live(self) -> None:
        """Runs the connections until an order arrives."""
        if self._subscribers is not None:
            self._subscribers.run(HOUR_S, wake_fd=ORDERS_FD)

    def plan(self, order: Order) -> None:
        self._plan = msgspec.convert(order["plan"], Plan)
        if (key := order.get("signing_key")) is not None:
            from mdstream.bench.own_key import (
                fresh_tokens,
            )  # late: cryptography takes a while, and few need it

            tokens = fresh_tokens(key, self._plan.offset, self._plan.connections)
            self._plan = replace(self._plan, tokens=tokens)
        self._subscribers = Subscribers(self._plan)

    def open(self, order: Order) -> dict[str, Any]:
        """Connects all. The answer has the time of the first connect and the time when all were ready."""
        begin_ns = time.monotonic_ns()
        self._made.open(order["per_second"])
        ready = self._made.run(order["within_s"], until="ready", wake_fd=ORDERS_FD)
        end_ns = time.monotonic_ns()
        return {
            "ready": ready,
            "clients": self._made.ready_clients,
            "begin_ns": begin_ns,
            "end_ns": end_ns,
            "connecting": self._made.ready.to_dict(),
            "first_fault": self._made.first_fault,
            "totals": self._made.totals(),
        }

    def mark(self, order: Order) -> None:
        self._made.mark()

    def read(self, order: Order) -> dict[str, Any]:
        """The counts and latencies since ``mark``."""
        groups = len(self._plan.groups) if self._plan else 0
        return {
            "counters": self._made.counters(),
            "latency": self._made.latency.to_dict(),
            "groups": [self._made.latency_of(group).to_dict() for group in range(groups)],
        }

    def cut(self, order: Order) -> dict[str, Any]:
        return {"cut": self._made.cut(order["window_s"], order["share"])}

    def settle(self, order: Order) -> None:
        """Waits until those that were cut are back."""
        self._made.run(order["within_s"], until="ready", wake_fd=ORDERS_FD)

    def expect(self, order: Order) -> dict[str, Any]:
        """Waits until everything published has arrived. The answer says what is missing or wrong."""
        self._made.expect(order["seqs"])
        self._made.expect(order.get("trade_seqs", {}), "trades")
        arrived = self._made.run(order["within_s"], until="expected", wake_fd=ORDERS_FD)
        return {
            "arrived": arrived,
            "behind": self._made.behind(),
            "open": self._made.open_clients,
            "faults": self._made.faults,
            "first_fault": self._made.first_fault,
            "totals": self._made.totals(),
            "close_codes": {str(code): count for code, count in self._made.close_codes.items()},
            "subscriptions": sum(
                count for channel in CHANNELS for _, _, count in self._made.positions(channel).values()
            ),
            "recovery": self._made.recovery.to_dict(),
            "books": self._made.books() if order["books"] else [],
        }

    def close(self, order: Order) -> None:
        self._made.close()


def merged(parts: list[dict[str, Any]]) -> Histogram:
    """The histograms of several processes as one."""
    whole = Histogram()
    for part in parts:
        whole.add(Histogram.from_dict(part))
    return whole


if __name__ == "__main__":
    load = Load()
    handlers = {
        name: getattr(load, name)
        for name in ("plan", "open", "mark", "read", "cut", "settle", "expect", "close")
    }
    orders.main(handlers, load.live)
