"""Parts of the whole path, feed → NATS → gateway → client, for tests that use all of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mdstream._core.orderbook.book import Book as CoreBook
from mdstream.client import Book, Client, SubscriptionRefused, connect
from mdstream.codes import ErrorCode

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MDSTREAM_DATA") or ROOT / ".." / "shared" / "data")
FORMATS = ("json", "msgpack")

T = TypeVar("T")


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skips the test if the recorded data is missing."""
    return pytest.mark.skipif(
        not all(path.exists() for path in paths), reason=f"no recorded data at {DATA} (MDSTREAM_DATA)"
    )


@asynccontextmanager
async def both_formats(url: str) -> AsyncIterator[list[Client]]:
    """A client for each format."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(url, format=name)) for name in FORMATS]


class Moments:
    """Waits for a condition; checks it whenever one of the watched subscriptions has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def watch(self, book: Book) -> Book:
        book.on_update(self.changed)
        book.on_state(self.changed)
        return book

    def changed(self, *_: object) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns when the condition holds. The test's deadline bounds the wait."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()


def equal(book: Book, published: CoreBook) -> bool:
    """Whether a client's view equals the publisher's book, level by level."""
    view = published.view(depth=book.request.depth, group=book.request.group)
    return view is not None and (book.bids.ravel().tolist(), book.asks.ravel().tolist()) == view


def untroubled(client: Client) -> bool:
    """Whether nothing that this client received was missing or wrong."""
    stats = client.stats
    return (stats.gaps, stats.crc_errors, stats.recoveries, stats.reconnects) == (0, 0, 0, 0)


async def announced(subscribe: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
    """Subscribes as soon as a publisher has announced the instrument. The test's deadline bounds the wait."""
    while True:
        try:
            return await subscribe(*arguments, **options)
        except SubscriptionRefused as error:
            if error.code not in (ErrorCode.UNKNOWN_INSTRUMENT, ErrorCode.UNAVAILABLE):
                raise
        await asyncio.sleep(0.01)


def guarded(wrong: list[AssertionError], check: Callable[..., None], *arguments: Any) -> None:
    """Keeps failed checks of observers, because the client only logs their errors."""
    try:
        check(*arguments)
    except AssertionError as error:
        wrong.append(error)
