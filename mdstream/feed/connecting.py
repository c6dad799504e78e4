"""A publisher, or one of several that share a venue's instruments, from a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mdstream.bus import Bus, BusOptions
from mdstream.bus import connect as connect_bus
from mdstream.errors import FeedError
from mdstream.feed.publisher import Publisher
from mdstream.model import InstrumentId


@asynccontextmanager
async def connect(target: str | BusOptions | Bus, *, venue: str, **options: Any) -> AsyncIterator[Publisher]:
    """A publisher for one venue: ``async with connect("nats://127.0.0.1:4222", venue="SIM") as publisher``.

    ``options`` are those of ``Publisher``. On leaving, the backlog is sent, the instruments are marked ``feed_down``, and the
    connection is closed unless it was passed in. Raises BusUnavailable if NATS cannot be reached, FeedError for a bad venue name.
    """
    check_venue(venue)
    bus = target if isinstance(target, Bus) else await connect_bus(_without_echo(target))
    try:
        publisher = Publisher(bus, venue, **options)
        try:
            await publisher.start()
            yield publisher
        finally:
            await publisher.close()
    finally:
        if bus is not target:
            await bus.close()


def _without_echo(target: str | BusOptions) -> BusOptions:
    """Our snapshots need not come back to us; we listen to those of others."""
    return replace(BusOptions.parse(target) if isinstance(target, str) else target, echo=False)


def check_venue(venue: str) -> None:
    """Raises FeedError for a bad venue name."""
    if ":" in venue:
        raise FeedError(f"venue {venue!r} must not contain a colon")
    try:
        InstrumentId.parse(f"{venue}:X")
    except ValueError as error:
        raise FeedError(str(error)) from None
