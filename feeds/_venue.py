"""Stays connected to a venue: backoff, planned reconnects, and what a venue's handler must do."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from mdstream.feeds._websocket import Connection, VenueUnavailable, connect

log = logging.getLogger("mdstream.feeds")

BASE_S = 0.5
CAP_S = 20.0
HEALTHY_S = 30.0
"""A connection that lasted this long was good: the backoff starts over after it."""
OVERLAP_S = 2.0
"""How long both connections run before the new one takes over."""


class Backoff:
    """Full jitter: rand(0, min(cap, base × 2^attempt)) seconds."""

    def __init__(
        self, *, base_s: float = BASE_S, cap_s: float = CAP_S, draw: Callable[[], float] = random.random
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._draw = draw
        self._attempt = 0

    def next_s(self) -> float:
        delay: float = self._draw() * min(self._cap_s, self._base_s * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 16)
        return delay

    def reset(self) -> None:
        self._attempt = 0

    def fresh(self) -> Backoff:
        """Another of the same bounds, at its first attempt."""
        return Backoff(base_s=self._base_s, cap_s=self._cap_s, draw=self._draw)


class VenueHandler(Protocol):
    """What a venue's handler does with a connection."""

    def on_open(self, connection: Connection) -> None:
        """The connection is open: subscribe."""

    def on_message(self, message: bytes) -> None:
        """Raises FeedError if the message cannot be understood; the connection is then closed."""

    def on_lost(self, reason: str) -> None:
        """The connection is lost, and perhaps messages too."""


class Link:
    """Keeps a handler connected for ever.

    When a connection is ``max_age_s`` old, or ``renew`` is called, a new one opens next to it and takes over after both have run
    for a while. The handler must then drop messages that it has seen already.
    """

    def __init__(
        self,
        url: str,
        handler: VenueHandler,
        *,
        max_age_s: float | None = None,
        overlap_s: float = OVERLAP_S,
        backoff: Backoff | None = None,
    ) -> None:
        self._url = url
        self._handler = handler
        self._max_age_s = max_age_s
        self._overlap_s = overlap_s
        self._backoff = backoff or Backoff()
        self._renew = asyncio.Event()

    def renew(self) -> None:
        """The venue will end the connection soon: open another."""
        self._renew.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            started, least_s = time.monotonic(), 0.0
            try:
                connection = await connect(self._url, self._handler.on_message)
            except VenueUnavailable as error:
                reason, least_s = str(error), error.retry_after_s or 0.0
            else:
                log.info("connected to %s", self._url)
                self._handler.on_open(connection)
                reason = await self._follow(connection)
                if time.monotonic() - started >= HEALTHY_S:
                    self._backoff.reset()
            self._handler.on_lost(reason)
            delay_s = max(self._backoff.next_s(), least_s)
            log.warning("%s; next try in %.1f s", reason, delay_s)
            await asyncio.sleep(delay_s)

    async def _follow(self, connection: Connection) -> str:
        """Follows a connection and its planned successors; returns why the last one ended."""
        try:
            while not await self._ends_before_renewal(connection):
                successor = await self._succeed(connection)
                if successor is not None:
                    connection = successor
            return connection.ended.result()
        finally:
            connection.close("stopped")

    async def _ends_before_renewal(self, connection: Connection) -> bool:
        self._renew.clear()
        renewal = asyncio.ensure_future(self._renew.wait())
        either: set[asyncio.Future[Any]] = {renewal, connection.ended}
        await asyncio.wait(either, timeout=self._max_age_s, return_when=asyncio.FIRST_COMPLETED)
        renewal.cancel()
        return connection.ended.done()

    async def _succeed(self, old: Connection) -> Connection | None:
        """Opens the next connection. Holds its messages until it takes over, so that messages stay in order."""
        held: list[bytes] = []
        try:
            successor = await connect(self._url, held.append)
        except VenueUnavailable as error:
            log.warning("no new connection to replace one near its end: %s", error)
            delay_s = max(self._backoff.next_s(), error.retry_after_s or 0.0)
            await asyncio.wait({old.ended}, timeout=delay_s)
            return None
        self._handler.on_open(successor)
        await asyncio.wait({old.ended}, timeout=self._overlap_s)
        old.close("replaced by a new connection")
        successor.on_message = self._handler.on_message
        for message in held:
            successor.hand_over(message)
        log.info("took over with a new connection to %s", self._url)
        return successor
