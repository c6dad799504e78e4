"""Functions that a user has registered: called at each event, whatever they raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
Observer = Callable[[T], object]


def notify_all(observers: Iterable[Callable[..., object]], *arguments: object) -> None:
    for observer in tuple(observers):
        notify(observer, *arguments)


def notify(observer: Callable[..., object], *arguments: object) -> None:
    """Calls a user's function. If it raises, logs the error, because the stream must continue."""
    try:
        observer(*arguments)
    except Exception:
        log.exception("an observer of mdstream.client raised")


def register(observers: list[T], observer: T) -> Callable[[], None]:
    observers.append(observer)

    def unregister() -> None:
        if observer in observers:
            observers.remove(observer)

    return unregister
