"""The command ``auth``: a fresh token for a session that goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdstream.auth import reasons
from mdstream.auth.credentials import Credentials
from mdstream.auth.identity import Identity
from mdstream.codes import CloseCode, ErrorCode
from mdstream.errors import CannotJudge, CommandError, Unauthorized

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.auth.authenticator import Authenticator
    from mdstream.gateway.commands import Auth

log = logging.getLogger("mdstream.gateway.renewals")

Take = Callable[["Session", "Auth", Identity], None]
Refuse = Callable[["Session", "Auth", CommandError], None]


class Renewals:
    """Judges fresh tokens, one at a time for a session. ``take`` gets the new identity, ``refuse`` the error; a token of somebody else
    is refused as any wrong one, and the session goes on until its own expires."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        unchecked: Callable[[], str | None],
        *,
        take: Take,
        refuse: Refuse,
    ) -> None:
        """``unchecked``: why nobody's credentials can be checked now, None if they can."""
        self._authenticator = authenticator
        self._unchecked = unchecked
        self._take = take
        self._refuse = refuse
        self._judging: dict[Session, asyncio.Task[None]] = {}

    def start(self, session: Session, command: Auth, subject: str) -> None:
        """Raises CommandError; what is judged later is refused later."""
        authenticator = self._authenticator
        if authenticator is None or not authenticator.takes_tokens:
            raise CommandError(ErrorCode.UNAVAILABLE, "this gateway takes no tokens")
        if session in self._judging:
            raise CommandError(ErrorCode.RATE_LIMITED, "the token before this one is still being checked")
        if (why := self._unchecked()) is not None:
            raise CommandError(ErrorCode.UNAVAILABLE, f"{why}; try again later")
        credentials = Credentials(token=command.token.encode("utf-8", "replace"))
        identity = authenticator.known(credentials)
        if identity is not None:
            self._take_same(session, command, identity, subject)
            return
        task = asyncio.get_running_loop().create_task(
            self._judge(authenticator, credentials, session, command, subject)
        )
        self._judging[session] = task
        task.add_done_callback(lambda done: self._done(session, done))

    @property
    def kept(self) -> dict[Session, asyncio.Task[None]]:
        """What ends with a session."""
        return self._judging

    def forget(self, session: Session) -> None:
        """The session has ended."""
        task = self._judging.get(session)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        tasks = list(self._judging.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, session: Session, task: asyncio.Task[None]) -> None:
        self._judging.pop(session, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a token could not be judged", exc_info=error)
            session.close(CloseCode.INTERNAL_ERROR, "internal error")

    async def _judge(
        self,
        authenticator: Authenticator,
        credentials: Credentials,
        session: Session,
        command: Auth,
        subject: str,
    ) -> None:
        try:
            identity = await authenticator.authenticate(credentials)
            if session.open:
                self._take_same(session, command, identity, subject)
        except Unauthorized as error:
            self._refuse_later(session, command, unauthorized(error.why))
        except CannotJudge:
            error_later = CommandError(
                ErrorCode.UNAVAILABLE, "the token cannot be checked now; try again later"
            )
            self._refuse_later(session, command, error_later)
        except CommandError as error:
            self._refuse_later(session, command, error)

    def _take_same(self, session: Session, command: Auth, identity: Identity, subject: str) -> None:
        if identity.subject != subject:
            raise unauthorized(reasons.OTHER_SUBJECT)
        self._take(session, command, identity)

    def _refuse_later(self, session: Session, command: Auth, error: CommandError) -> None:
        if session.open:
            self._refuse(session, command, error)


def unauthorized(why: str) -> CommandError:
    """One text for every wrong token; ``why`` is for the audit log."""
    return CommandError(ErrorCode.UNAUTHORIZED, "the token is not valid for this session", why=why)
