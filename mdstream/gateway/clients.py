"""What the gateway keeps of each session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mdstream._core.entry.visitor import ClientState
from mdstream.gateway import messages

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.gateway.costs import Work


class Client(ClientState):
    """What the gateway keeps of one session."""

    __slots__ = ()

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
