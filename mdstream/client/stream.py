"""Asynchronous iteration over a subscription's updates, with a bounded buffer for a slow consumer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar
from weakref import WeakMethod

from mdstream.client.subscription import Subscription


class Countable(Protocol):
    """An item that can give the number of dropped items before it."""

    def with_skipped(self, skipped: int) -> Self: ...


T = TypeVar("T", bound=Countable)


class UpdateStream(Generic[T]):
    """Yields items in order until the subscription ends; then stops, or raises the error that ended it.

    If the buffer is full, the oldest item is dropped, and the next delivered item counts it in ``skipped``.
    """

    def __init__(
        self,
        source: Subscription,
        register: Callable[[Callable[[T], object]], Callable[[], None]],
        buffer: int,
    ) -> None:
        if buffer < 1:
            raise ValueError(f"buffer was {buffer}; it must be at least 1")
        self._source = source
        self._items: deque[T] = deque()
        self._buffer = buffer
        self._skipped = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._unregister = (_weakly(register, self._push), _weakly(source.on_end, self._wake))

    def __aiter__(self) -> UpdateStream[T]:
        return self

    async def __anext__(self) -> T:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            if self._source.ended:
                await self.aclose()
                if self._source.error is not None:
                    raise self._source.error
                raise StopAsyncIteration
            await self._wait()
        item = self._items.popleft()
        if self._skipped:
            item, self._skipped = item.with_skipped(self._skipped), 0
        return item

    async def aclose(self) -> None:
        """Ends the iteration; the subscription continues."""
        self._closed = True
        for unregister in self._unregister:
            unregister()
        self._wake()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError(
                "another task is iterating over this stream; call updates() for a stream of its own"
            )
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _push(self, item: T) -> None:
        if len(self._items) >= self._buffer:
            self._items.popleft()
            self._skipped += 1
        self._items.append(item)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _weakly(
    register: Callable[[Callable[..., object]], Callable[[], None]], method: Callable[..., object]
) -> Callable[[], None]:
    """Registers a method without keeping its object alive, because ``break`` in an ``async for`` does not close the iteration."""
    reference = WeakMethod(method, lambda _: unregister())

    def call(*arguments: object) -> None:
        target = reference()
        if target is not None:
            target(*arguments)

    unregister = register(call)
    return unregister
