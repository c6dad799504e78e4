"""Who is present at a topic, or how many are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

from mdstream.client.events import PresencePage
from mdstream.client.keyed import KeyedSubscription
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link


@dataclass(frozen=True, slots=True)
class Present:
    """A session that is present: its user ("" where nobody is asked who he is), since when, and what it says of itself."""

    user: str
    since_us: int
    info: Any


@dataclass(frozen=True, slots=True)
class PresenceUpdate:
    """How many are present now, and, for those who may see it, which sessions joined (or changed) and left."""

    seq: int
    count: int
    joined: Mapping[str, Present]
    left: tuple[str, ...]
    whole: bool = False
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class Presence(KeyedSubscription[PresencePage]):
    """``count``, and with ``who`` also ``sessions``. With ``join`` this session is present too, until it is closed."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self.count = 0
        self._sessions: dict[str, Present] = {}
        self._observers: list[Observer[PresenceUpdate]] = []

    # ---- for the user

    @property
    def sessions(self) -> Mapping[str, Present]:
        """By the name of the session; empty without ``who``. It changes with each message."""
        return MappingProxyType(self._sessions)

    def on_update(self, observer: Observer[PresenceUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` after each message; returns a function that stops the calls."""
        return register(self._observers, observer)

    def updates(self, buffer: int = 256) -> UpdateStream[PresenceUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates for a slow consumer."""
        return UpdateStream(self, self.on_update, buffer)

    def __aiter__(self) -> AsyncIterator[PresenceUpdate]:
        return self.updates()

    # ---- for the connection

    def _replace(self, pages: Sequence[PresencePage]) -> None:
        found = _present(pages)
        gone = tuple(self._sessions.keys() - found.keys())
        self._sessions.clear()
        self._sessions.update(found)
        self._tell(pages, found, gone, whole=True)

    def _apply(self, pages: Sequence[PresencePage]) -> None:
        found = _present(pages)
        left = (key for page in pages for key in page.delete or ())
        gone = tuple(key for key in left if self._sessions.pop(key, None) is not None)
        self._sessions.update(found)
        self._tell(pages, found, gone)

    def _tell(
        self,
        pages: Sequence[PresencePage],
        found: Mapping[str, Present],
        gone: tuple[str, ...],
        *,
        whole: bool = False,
    ) -> None:
        self.count = pages[-1].count
        notify_all(self._observers, PresenceUpdate(pages[0].seq, self.count, found, gone, whole))


def _present(pages: Sequence[PresencePage]) -> dict[str, Present]:
    return {
        key: Present(row.user, row.since_us, row.info)
        for page in pages
        for key, row in (page.rows or {}).items()
    }
