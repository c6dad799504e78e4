"""What the gateway keeps of each session."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mdstream.gateway import messages
from mdstream.gateway.budget import SessionBudgets
from mdstream.gateway.limits import Visitor
from mdstream.gateway.usage import Part

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.gateway.costs import Work

NAME_BYTES: Final = 8
_NAMES_AT_ONCE: Final = 256


class Names:
    """Random names of sessions, sixteen hexadecimal digits each. The system is asked for many at once: one by one, they would be a
    noticeable part of what a connection costs."""

    def __init__(self) -> None:
        self._made: list[str] = []

    def take(self) -> str:
        if not self._made:
            digits, size = secrets.token_hex(NAME_BYTES * _NAMES_AT_ONCE), 2 * NAME_BYTES
            self._made = [digits[at : at + size] for at in range(0, len(digits), size)]
        return self._made.pop()


class Client:
    """What the gateway keeps of one session."""

    __slots__ = ("budgets", "id", "identity", "opened_s", "opening", "parts", "tasks", "visitor")

    def __init__(self, id: str, budgets: SessionBudgets, opened_s: float, visitor: Visitor) -> None:
        self.id = id
        self.visitor = visitor
        self.identity = visitor.identity
        self.opened_s = opened_s
        self.budgets = budgets
        self.opening = 0
        """Subscriptions that are not made yet, as their instruments must be opened or others come first; they count against the limit."""
        self.tasks: set[asyncio.Task[None]] | None = None
        """What waits for its instruments to open; it ends with the session. None where nothing ever did: most clients need no set."""
        self.parts: dict[int, Sequence[Part]] | None = None
        """By the number of a subscription: how its use is counted. None where usage is not recorded."""

    @property
    def line(self) -> int:
        """Which of the connections of a client that holds several gateways at once."""
        return self.visitor.line

    @property
    def address(self) -> bytes:
        """For the audit log."""
        return self.visitor.address

    def add_task(self, task: asyncio.Task[None]) -> None:
        if self.tasks is None:
            self.tasks = set()
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def charge_answer(self, levels: int, size: int) -> None:
        """Raises CommandError ``rate_limited`` if a budget is spent; call it before the work. ``size``: bytes, weighed."""
        self.budgets.charge_answer(levels, size)


def charge_work(session: Session, work: Work, echo_bytes: int = 0) -> None:
    """Charges one message as ``Client.charge_answer``. ``echo_bytes``: what it repeats of the command."""
    size = work.answer_bytes(session.format, session.sink.compresses, echo_bytes)
    client_of(session).charge_answer(work.read, size)


def client_of(session: Session) -> Client:
    """Of a session that was let in."""
    client = session.context
    assert isinstance(client, Client)
    return client


def tell(session: Session, message: messages.Message) -> None:
    """Sends a control message."""
    session.send_control(messages.encode(session.format, message))
