"""What those who answer a channel's commands use of ``Subscriptions``, which makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable, Sequence

    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session
    from mdstream.errors import CommandError
    from mdstream.gateway.commands import CommandId
    from mdstream.gateway.fair_places import Asker


class Desk(Protocol):
    """What several of them use; who needs more has a protocol of his own beside it."""

    def refuse(self, session: Session, id: CommandId, error: CommandError) -> None: ...
    def check_more(self, session: Session, new: int) -> None: ...
    def tally(self, session: Session) -> None: ...
    def begun(self, session: Session, topic: Topic) -> None: ...
    def later(self, session: Session, task: asyncio.Task[None]) -> None: ...
    def end(self, session: Session, topics: Sequence[Topic], reason: str) -> None: ...
    def asker(self, session: Session) -> Hashable: ...
    def counted(self, session: Session) -> Asker: ...
