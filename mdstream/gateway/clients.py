"""What the gateway keeps of each session."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdstream.gateway import messages
from mdstream.gateway.addresses import shown_address
from mdstream.gateway.budget import Cost, SessionBudgets
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.costs import Work
from mdstream.gateway.limits import Visitor
from mdstream.gateway.usage import Part

if TYPE_CHECKING:
    from mdstream._core.net.session import Session


class Client:
    """What the gateway keeps of one session."""

    __slots__ = ("budgets", "id", "identity", "opened_s", "opening", "parts", "tasks", "visitor")

    def __init__(self, config: GatewayConfig, now_s: Callable[[], float], visitor: Visitor) -> None:
        self.id = secrets.token_hex(8)
        self.visitor = visitor
        self.identity = visitor.identity
        self.opened_s = now_s()
        self.budgets = SessionBudgets(config, now_s)
        self.opening = 0
        """Subscriptions that are not made yet, as their instruments must be opened or others come first; they count against the limit."""
        self.tasks: set[asyncio.Task[None]] = set()
        """What waits for its instruments to open; it ends with the session."""
        self.parts: dict[int, Part] | None = None
        """By the number of a subscription: how its use is counted. None where usage is not recorded."""

    @property
    def address(self) -> str:
        """For the audit log."""
        return shown_address(self.visitor.address)

    def charge_work(self, work: Work, format: int) -> None:
        """Raises CommandError ``rate_limited`` if a budget is spent; call it before the work."""
        self.budgets.charge(Cost.LEVELS, work.read)
        self.budgets.charge(Cost.ANSWER_BYTES, work.answer_bytes(format))


def client_of(session: Session) -> Client:
    """Of a session that was let in."""
    client = session.context
    assert isinstance(client, Client)
    return client


def tell(session: Session, message: messages.Message) -> None:
    """Sends a control message."""
    session.send_control(messages.encode(session.format, message))
