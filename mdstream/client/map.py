"""A map: keyed values under a topic, kept equal to those of the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

from mdstream.client.events import MapPage
from mdstream.client.keyed import KeyedSubscription
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link


@dataclass(frozen=True, slots=True)
class MapEntry:
    """What a key holds; ``rev`` is the number of the change that set it, ``by`` who made that (None: nobody knows), ``ts_us`` when
    it was stored."""

    value: Any
    rev: int
    by: str | None
    ts_us: int


@dataclass(frozen=True, slots=True)
class MapUpdate:
    """What one message changed; ``whole``: it replaced all. ``skipped`` counts the updates just before it that a slow iteration dropped."""

    seq: int
    set: Mapping[str, MapEntry]
    deleted: tuple[str, ...]
    whole: bool = False
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Map(KeyedSubscription[MapPage]):
    """All keys that begin with ``prefix``, in ``entries``."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._entries: dict[str, MapEntry] = {}
        self._observers: list[Observer[MapUpdate]] = []

    # ---- for the user

    @property
    def prefix(self) -> str:
        return self.request.prefix

    @property
    def entries(self) -> Mapping[str, MapEntry]:
        """By key. It changes with each message."""
        return MappingProxyType(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, key: str) -> Any:
        """The value of a key. Raises KeyError."""
        return self._entries[key].value

    def rev(self, key: str) -> int:
        """What to ``expect`` in a ``put`` that must not overwrite what others have set since: 0 for a key that does not exist."""
        entry = self._entries.get(key)
        return 0 if entry is None else entry.rev

    def on_update(self, observer: Observer[MapUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` after each message; returns a function that stops the calls."""
        return register(self._observers, observer)

    def updates(self, buffer: int = 1024) -> UpdateStream[MapUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates for a slow consumer."""
        return UpdateStream(self, self.on_update, buffer)

    def __aiter__(self) -> AsyncIterator[MapUpdate]:
        return self.updates()

    # ---- for the connection

    def _replace(self, pages: Sequence[MapPage]) -> None:
        found = _entries(pages)
        gone = tuple(self._entries.keys() - found.keys())
        self._entries.clear()
        self._entries.update(found)
        notify_all(self._observers, MapUpdate(pages[0].seq, found, gone, whole=True))

    def _apply(self, pages: Sequence[MapPage]) -> None:
        found = _entries(pages)
        gone = tuple(key for page in pages for key in page.delete if self._entries.pop(key, None) is not None)
        self._entries.update(found)
        notify_all(self._observers, MapUpdate(pages[0].seq, found, gone))


def _entries(pages: Sequence[MapPage]) -> dict[str, MapEntry]:
    return {
        key: MapEntry(row.value, row.rev, row.by, row.ts_us)
        for page in pages
        for key, row in page.rows.items()
    }
