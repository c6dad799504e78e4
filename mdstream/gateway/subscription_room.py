"""How many subscriptions a client may have, and how much memory grouped views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.budget import Cost
from mdstream.gateway.clients import client_of
from mdstream.gateway.grouped_views import GroupedViews
from mdstream.gateway.limits import Limits

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.gateway.commands import Subscribe
    from mdstream.gateway.open_instrument import OpenInstrument


class SubscriptionRoom:
    """Each method raises CommandError ``limit_subscriptions`` where there is no room."""

    def __init__(
        self,
        most: int,
        limits: Limits,
        grouped: GroupedViews,
        limit_reached: Callable[[Session, str], None],
    ) -> None:
        """``most`` subscriptions of a client; ``limits`` are those of its address and its user."""
        self._most = most
        self._limits = limits
        self._grouped = grouped
        self._limit_reached = limit_reached

    def check(self, session: Session, command: Subscribe) -> None:
        """For what a command asks for."""
        client = client_of(session)
        wanted = session.sink.subscriptions + client.opening + len(command.instruments)
        has_room = self._limits.has_room(client.visitor, len(command.instruments))
        is_grouped = command.group != 1 or command.group_digits > 0
        if wanted <= self._most and has_room and not is_grouped:
            return
        client.budgets.charge(Cost.LEVELS, session.sink.subscriptions)
        topics = session.sink.topics()
        have = {
            t.instrument.name for t in topics if (t.channel, t.depth, t.group, t.interval_ms) == command.view
        }
        new = sum(name not in have for name in command.instruments)
        if is_grouped:
            self._grouped.check_client(session.sink.grouped, new)
        if new:
            self.check_more(session, new)

    def check_more(self, session: Session, new: int) -> None:
        """For so many more."""
        client = client_of(session)
        have = session.sink.subscriptions
        if have + client.opening + new > self._most:
            self._limit_reached(session, "subscriptions")
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{have} of {self._most} subscriptions are in use; {new} more are too many",
            )
        if why := self._limits.check_room(client.visitor, new):
            raise CommandError(ErrorCode.LIMIT_SUBSCRIPTIONS, why)

    def check_groups(self, commands: Sequence[Subscribe], found: Sequence[OpenInstrument]) -> None:
        """For the grouped views of these instruments; ``commands``: as it is for each."""
        grouped: dict[int, list[OpenInstrument]] = {}
        for command, instrument in zip(commands, found, strict=True):
            if command.group != 1:
                self._grouped.check_instrument(instrument, command)
                grouped.setdefault(command.group, []).append(instrument)
        for command in {each.group: each for each in commands if each.group != 1}.values():
            self._grouped.check_memory(grouped[command.group], command)
