"""Judges the credentials of upgrade requests that are well-formed, at once where they are known, else within bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mdstream.auth.identity import NOBODY, Identity
from mdstream.errors import CannotJudge, Unauthorized
from mdstream.gateway.handshake import UNAUTHORIZED, Accepted, Refused
from mdstream.gateway.http_messages import retry_after_s

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.auth.authenticator import Authenticator

log = logging.getLogger("mdstream.gateway.admission")


class Doors(Protocol):
    """What becomes of a client."""

    def let_in(self, session: Session, verdict: Accepted, answer: bytes, identity: Identity | None) -> None:
        """None: let in to be told that it is unauthorized, and closed."""

    def refuse(self, session: Session, verdict: Refused) -> None: ...


class Admission:
    """``unknown`` says why nobody can be judged now, None if they can."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        doors: Doors,
        *,
        max_pending: int,
        explains: bool,
        unauthorized: Callable[[Session, str], None],
        unknown: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``unauthorized`` hears why, which no client is told. ``authenticator`` None: nobody is asked. ``explains``: whether
        ``?reject=close`` is obeyed."""
        self._authenticator = authenticator
        self._doors = doors
        self._max_pending = max_pending
        self._explains = explains
        self._unknown = unknown
        self._unauthorized = unauthorized
        self._pending: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """Clients whose credentials are being judged."""
        return len(self._pending)

    def judge(self, session: Session, verdict: Accepted, answer: bytes) -> None:
        """Lets the client in, or refuses it, now or soon."""
        authenticator = self._authenticator
        if authenticator is None:
            self._doors.let_in(session, verdict, answer, NOBODY)
            return
        unknown = self._unknown()
        if unknown is not None:
            self._doors.refuse(session, _later(unknown))
            return
        identity = authenticator.known(verdict.credentials)
        if identity is not None:
            self._doors.let_in(session, verdict, answer, identity)
        elif len(self._pending) >= self._max_pending:
            self._doors.refuse(session, _later("too many clients are connecting; try again later"))
        else:
            task = asyncio.get_running_loop().create_task(
                self._judge(authenticator, session, verdict, answer)
            )
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    def known(self, token: bytes) -> Identity | None:
        """Whose token it is, where that can be said at once; None: ``judge``."""
        if self._authenticator is None or self._unknown() is not None:
            return None
        return self._authenticator.known_token(token)

    async def stop(self) -> None:
        tasks = list(self._pending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _judge(
        self, authenticator: Authenticator, session: Session, verdict: Accepted, answer: bytes
    ) -> None:
        try:
            identity = await authenticator.authenticate(verdict.credentials)
            self._doors.let_in(session, verdict, answer, identity)
        except Unauthorized as error:
            self._unauthorized(session, error.why)
            if self._explains and verdict.explains:
                self._doors.let_in(session, verdict, answer, None)
            else:
                self._doors.refuse(session, UNAUTHORIZED)
        except CannotJudge as error:
            log.debug("a client cannot be judged: %s", error)
            self._doors.refuse(session, _later("credentials cannot be checked now; try again later"))
        except Exception:
            log.exception("credentials could not be judged")
            self._doors.refuse(session, Refused(500, "internal error"))


def _later(why: str) -> Refused:
    return Refused(503, why, (("Retry-After", str(retry_after_s())),))
