"""When sessions end because of who they belong to: their credential expires, is revoked, or the subject has a newer session.

One heap for all sessions instead of a timer for each. Nothing here takes longer than 2 ms without a turn of the loop in between.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Collection, Iterator
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from mdstream.auth.credentials import query_value
from mdstream.auth.identity import Identity
from mdstream.auth.revocations import Revocation, Revocations
from mdstream.codes import CloseCode

if TYPE_CHECKING:
    from mdstream._core.net.session import Session

WARN_S = 60.0
"""``token_expiring`` comes so long before the end, or at half of the remaining life."""
STEP_S = 0.002
SCAN_S = 0.1
"""Between a revocation and the look at all sessions: those that come together share it."""
RACE_S = 1.0
"""Two sessions of a subject that open within this time, on two gateways, are told apart by their names alone."""
FIRST_LINE: Final = 1
LINES: Final = {None: FIRST_LINE, b"1": 1, b"2": 2}
"""By `line` in the query of an upgrade request: a client may hold two gateways at once, and says which of its connections this is."""


class Member(Protocol):
    """What is known of a session."""

    identity: Identity

    @property
    def id(self) -> str: ...
    @property
    def opened_s(self) -> float: ...
    @property
    def line(self) -> int: ...


class Lifetimes:
    """``member`` gives what is known of a session, ``tell_expiring`` sends ``token_expiring``, ``tell_revoked`` gets what was revoked
    (``session``, ``credential``) and the session that ends."""

    def __init__(
        self,
        sessions: Collection[Session],
        revocations: Revocations,
        *,
        member: Callable[[Session], Member],
        tell_expiring: Callable[[Session, Identity], None],
        tell_revoked: Callable[[str, Member], None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._revocations = revocations
        self._member = member
        self._tell_expiring = tell_expiring
        self._tell_revoked = tell_revoked
        self._now_s = now_s
        self._due: list[tuple[float, int, Session, Identity]] = []
        self._order = count()
        self._ended_ids: set[str] = set()
        """Of the next look."""
        self._ending_ids: set[str] = set()
        """Of the look that is under way."""
        self._wanted = False
        """Whether something was revoked since the last look began, which may have passed whom it covers."""
        self._scanning: asyncio.TimerHandle | asyncio.Handle | None = None
        self._to_scan: Iterator[Session] | None = None
        self.expired_total = 0
        self.revoked_total = 0
        self.replaced_total = 0

    # ---- time

    def follow(self, session: Session, identity: Identity) -> None:
        """A session has this identity from now on."""
        if identity.expires_at_s == inf:
            return
        now_s = self._now_s()
        left_s = max(identity.expires_at_s - identity.leeway_s - now_s, 0.0)
        self._push(now_s + left_s - min(WARN_S, left_s / 2), session, identity)

    def tick(self) -> None:
        """Tells and ends what is due; call it a few times a second."""
        now_s = self._now_s()
        until_s = now_s + STEP_S
        while self._due and self._due[0][0] <= now_s:
            _, _, session, identity = heapq.heappop(self._due)
            self._fall_due(session, identity, now_s)
            if self._now_s() > until_s:
                asyncio.get_running_loop().call_soon(self.tick)
                return
        if len(self._due) > 3 * len(self._sessions) + 1_000:
            self._forget_ended()

    def _fall_due(self, session: Session, identity: Identity, now_s: float) -> None:
        if not session.open or self._member(session).identity is not identity:
            return
        if now_s >= identity.expires_at_s:
            self.expired_total += 1
            session.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
        else:
            self._tell_expiring(session, identity)
            self._push(identity.expires_at_s, session, identity)

    def _push(self, at_s: float, session: Session, identity: Identity) -> None:
        heapq.heappush(self._due, (at_s, next(self._order), session, identity))

    def _forget_ended(self) -> None:
        """Sessions that ended before their time leave their entries behind."""
        self._due = [
            entry for entry in self._due if entry[2].open and self._member(entry[2]).identity is entry[3]
        ]
        heapq.heapify(self._due)

    # ---- revocations

    def revoke(self, revocation: Revocation) -> None:
        """Ends the sessions that are revoked, soon. Others of the same subject stay if their tokens were issued later."""
        if revocation.lifted:
            return
        if revocation.kind == "session":
            self._ended_ids.add(revocation.name)
        self._wanted = True
        if self._scanning is None:
            self._plan_scan()

    def _plan_scan(self) -> None:
        self._scanning = asyncio.get_running_loop().call_later(SCAN_S, self._begin_scan)

    def _begin_scan(self) -> None:
        self._wanted = False
        self._ending_ids, self._ended_ids = self._ended_ids, set()
        self._to_scan = iter(list(self._sessions))
        self._scan()

    def _scan(self) -> None:
        assert self._to_scan is not None
        until_s = self._now_s() + STEP_S
        for session in self._to_scan:
            self._end_if_revoked(session)
            if self._now_s() > until_s:
                self._scanning = asyncio.get_running_loop().call_soon(self._scan)
                return
        self._scanning = self._to_scan = None
        if self._wanted:
            self._plan_scan()

    def _end_if_revoked(self, session: Session) -> None:
        if not session.open:
            return
        member = self._member(session)
        if member.id in self._ending_ids or self._revocations.covers(member.identity):
            self.revoked_total += 1
            self._tell_revoked("session" if member.id in self._ending_ids else "credential", member)
            session.close(CloseCode.TOKEN_EXPIRED, "the credential was revoked")

    def stop(self) -> None:
        if self._scanning is not None:
            self._scanning.cancel()
            self._scanning = None


class SingleSessions:
    """The policy that a subject has one session on each line: of two, the newer stays. Closes the older with 4409."""

    def __init__(
        self, member: Callable[[Session], Member], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._member = member
        self._now_s = now_s
        self._here: dict[tuple[str, int], Session] = {}
        """By subject and line."""
        self.replaced_total = 0

    def opened(self, session: Session) -> None:
        """A session opened here."""
        key = self._key(session)
        older = self._here.get(key)
        self._here[key] = session
        if older is not None:
            self._replace(older)

    def opened_elsewhere(self, subject: str, id: str, line: int = FIRST_LINE) -> None:
        """A session of this name opened on another gateway."""
        here = self._here.get((subject, line))
        if here is None or self._member(here).id == id:
            return
        member = self._member(here)
        if self._now_s() - member.opened_s >= RACE_S or member.id < id:
            self._replace(here)

    def closed(self, session: Session) -> None:
        key = self._key(session)
        if self._here.get(key) is session:
            del self._here[key]

    def _key(self, session: Session) -> tuple[str, int]:
        member = self._member(session)
        return member.identity.subject, member.line

    def _replace(self, session: Session) -> None:
        if session.open:
            self.replaced_total += 1
            session.close(CloseCode.REPLACED, "a newer session of the same subject")


def line_of(target: bytes) -> int | None:
    """Which line the target of an upgrade request names; None if it is none that a subject may have."""
    return LINES.get(query_value(target, b"line"))
