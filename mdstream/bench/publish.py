"""``python -m mdstream.bench.publish``: the feed of a load test. It carries out the orders of the runner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from mdstream._bench.publisher import Books, Publisher
from mdstream.bench import orders
from mdstream.bench.orders import ORDERS_FD, Order
from mdstream.bus import MD_LOG, MD_STATE, Bus, BusOptions, StreamOptions, connect
from mdstream.errors import BenchError

THROW_AWAY_BYTES = 128 * 1024 * 1024
IN_FLIGHT = 64
"""Announcements that wait for JetStream at the same time."""


class Feed:
    """The books of a test and their publisher. Each public method is an order."""

    def __init__(self) -> None:
        self._books: Books | None = None
        self._publisher: Publisher | None = None
        self._url = ""
        self._streams = StreamOptions()
        self._subjects: list[str] = []

    def announce(self, order: Order) -> None:
        """Makes the books, and stores in JetStream what a gateway needs to open them."""
        self._url, self._subjects = order["nats"], order["subjects"]
        if order["throw_away"]:
            # The server lives as long as this measurement, whose figures must not depend on a disk.
            self._streams = StreamOptions(log_storage="memory", log_max_bytes=THROW_AWAY_BYTES)
        epoch = time.time_ns() // 1000
        self._books = Books(self._subjects, epoch=epoch, levels=order["levels"])
        asyncio.run(self._with_bus(self._announce))
        host, port, user, password, token = _address(self._url)
        self._publisher = Publisher(self._books, host, port, user=user, password=password, token=token)

    def run(self, order: Order) -> dict[str, Any]:
        """Publishes by the schedule; the answer has the counts and how late updates were."""
        assert self._publisher is not None
        done = dict(self._publisher.run(wake_fd=ORDERS_FD, **order))
        done["late_p99_us"] = self._publisher.lateness.percentile(99)
        return done

    def finish(self, order: Order) -> dict[str, Any]:
        """Publishes a last update per symbol, and a last trade if there were ``trades``; the answer has their sequence numbers."""
        assert self._publisher is not None and self._books is not None
        self._publisher.finish(trades=order.get("trades", False))
        return {"seqs": self._books.seqs(), "trade_seqs": self._books.trade_seqs()}

    def views(self, order: Order) -> dict[str, Any]:
        """The books now: ``wanted`` has the index of each symbol, and a depth."""
        assert self._books is not None
        return {"views": [self._books.view(symbol, depth) for symbol, depth in order["wanted"]]}

    def forget(self, order: Order) -> None:
        """Deletes what this test has stored on a NATS server that is not ours."""
        asyncio.run(self._with_bus(self._purge))

    async def _with_bus(self, work: Callable[[Bus], Awaitable[None]]) -> None:
        async with await connect(BusOptions.parse(self._url, streams=self._streams)) as bus:
            await bus.ensure_streams()
            await work(bus)

    async def _announce(self, bus: Bus) -> None:
        """Stores symbols concurrently, and ``ref``, ``book``, ``snap`` of each symbol in this order."""
        assert self._books is not None
        by_symbol: dict[str, list[tuple[str, bytes]]] = {}
        for subject, payload in self._books.announcements(time.time_ns() // 1000):
            by_symbol.setdefault(subject.rpartition(".")[0], []).append((subject, payload))
        free = asyncio.Semaphore(IN_FLIGHT)

        async def store(messages: list[tuple[str, bytes]]) -> None:
            async with free:
                for subject, payload in messages:
                    await bus.publish_acked(subject, payload)

        await asyncio.gather(*map(store, by_symbol.values()))

    async def _purge(self, bus: Bus) -> None:
        venue = self._subjects[0].split(".")[1]
        jetstream = bus.client.jetstream()
        for stream in (MD_STATE, MD_LOG):
            await jetstream.purge_stream(stream, subject=f"md.{venue}.>")


def _address(url: str) -> tuple[str, int, str | None, str | None, str | None]:
    """Host, port, user, password, token for a plain connection. Raises BenchError for TLS."""
    parts = urlsplit(url)
    if parts.scheme == "tls":
        raise BenchError(
            "--nats reads tls://…: the publisher of the load test speaks plain TCP only;"
            " give it a nats-server (for instance a leaf node) that accepts nats://"
        )
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    token = None
    if user is not None and password is None:
        user, token = None, user
    return parts.hostname or "127.0.0.1", parts.port or 4222, user, password, token


if __name__ == "__main__":
    feed = Feed()
    orders.main({name: getattr(feed, name) for name in ("announce", "run", "finish", "views", "forget")})
