"""What an operator is told of sessions: a row for each, in pages of bounded length."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from mdstream.gateway.addresses import shown_address
from mdstream.gateway.clients import client_of

if TYPE_CHECKING:
    from mdstream._core.net.session import Session

MOST_ROWS: Final = 1_000
USUAL_ROWS: Final = 100
MOST_VIEWS: Final = 100
"""Subscriptions of one session that are named."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions: those whose names come ``after`` one, in their order, of this user and address, or slow ones alone."""

    after: str = ""
    limit: int = USUAL_ROWS
    user: str | None = None
    address: str | None = None
    slow: bool = False

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def includes(self, session: Session) -> bool:
        client = client_of(session)
        if self.slow and not session.sink.blocked:
            return False
        if self.user is not None and client.identity.subject != self.user:
            return False
        if self.address is not None and shown_address(client.address) != self.address:
            return False
        return client.id > self.after


def row(session: Session, now_s: float) -> Row:
    """``slow``: its socket takes no more now. ``connected_s``: for how long it has been here."""
    client = client_of(session)
    return {
        "session": client.id,
        "user": client.identity.subject or None,
        "address": shown_address(client.address),
        "connected_s": round(now_s - client.opened_s, 3),
        "format": "msgpack" if session.format else "json",
        "compression": session.sink.compresses,
        "subscriptions": session.sink.subscriptions,
        "slow": session.sink.blocked,
        "unread_bytes": session.bytes_pending,
    }


def views(session: Session) -> list[Row]:
    """Its subscriptions, as many as are named."""
    return [
        {
            "sub": topic.number,
            "channel": topic.channel,
            "instrument": topic.instrument.name,
            "depth": topic.depth,
            "group": topic.group,
            "interval_ms": topic.interval_ms,
            "seq": topic.seq,
        }
        for topic in session.sink.topics()[:MOST_VIEWS]
    ]


class Page:
    """The first rows by name; ``take`` sessions in any order."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._kept: list[tuple[str, Session]] = []
        self.more = False
        """Whether there are others after them."""

    def take_all(self, sessions: Iterable[Session]) -> Iterator[None]:
        """A step for each."""
        for session in sessions:
            if session.open and self._wanted.includes(session):
                self._take(session)
            yield

    def _take(self, session: Session) -> None:
        self._kept.append((client_of(session).id, session))
        if len(self._kept) >= 2 * self._wanted.limit + 1:
            self._cut()

    def _cut(self) -> None:
        kept = heapq.nsmallest(self._wanted.limit, self._kept, key=lambda each: each[0])
        self.more = self.more or len(kept) < len(self._kept)
        self._kept = kept

    def rows(self, now_s: float) -> list[Row]:
        self._cut()
        return [row(session, now_s) for _, session in self._kept if session.open]


def merge(pages: Iterable[dict[str, Any]], limit: int) -> dict[str, Any]:
    """One page of those of several workers."""
    found = [each for page in pages for each in page["sessions"]]
    any_more = any(page["next"] for page in pages)
    shown = sorted(found, key=lambda each: str(each["session"]))[:limit]
    return page_of(shown, any_more or len(shown) < len(found))


def page_of(rows: list[Row], more: bool) -> dict[str, Any]:
    """``next``: what to ask for ``after`` to get the rows that follow; None where these are the last."""
    return {"sessions": rows, "next": rows[-1]["session"] if rows and more else None}
