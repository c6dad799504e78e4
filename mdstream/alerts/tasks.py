"""Several things at once, of which the first that fails ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, TypeVar

from mdstream.errors import BusConflict, BusError

T = TypeVar("T")


async def all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Returns once all are done. Raises as ``failure_in`` says."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
    except BaseExceptionGroup as errors:
        raise failure_in(errors) from None


async def some_at_a_time(
    most: int, these: Collection[T], work: Callable[[T], Coroutine[Any, Any, None]]
) -> None:
    """As ``all_of``, of what may be many: one after the other, ``most`` of them at once."""
    left = iter(these)

    async def take() -> None:
        for each in left:
            await work(each)

    await all_of(take() for _ in range(min(most, len(these))))


def failure_in(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise for a group: one BusError if there is nothing else, a BusConflict if there is one; else the group."""
    expected, others = errors.split(BusError)
    if others is not None or expected is None:
        return errors
    flat = list(_flat(expected))
    return next((each for each in flat if isinstance(each, BusConflict)), flat[0])


def _flat(errors: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for each in errors.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _flat(each)
        else:
            yield each
