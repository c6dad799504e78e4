"""How many grouped views clients may have: each is summed from the levels of the whole book, for those alone who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

if TYPE_CHECKING:
    from mdstream.gateway.commands import Subscribe
    from mdstream.gateway.config import GatewayConfig
    from mdstream.gateway.open_instrument import OpenInstrument

_SHOWN = 8


class GroupedViews:
    """The bounds of ``group``: any number of ticks is served, while there is room.

    The configured ``groups``, and their multiples of an instrument's tick, are always served. All other groups of an instrument
    share ``max_other_groups`` views.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._always = frozenset(config.groups)
        self._most = config.max_grouped
        self._most_other = config.max_other_groups
        self._shown = ", ".join(map(str, config.groups[:_SHOWN])) + (
            " …" if len(self._always) > _SHOWN else ""
        )

    def check_client(self, have: int, new: int) -> None:
        """Raises CommandError ``limit_subscriptions`` if a client that has so many grouped views may not have ``new`` more."""
        if new and have + new > self._most:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{have} of {self._most} grouped views are in use; {new} more are too many. Group 1 is not counted",
            )

    def check_instrument(self, instrument: OpenInstrument, command: Subscribe) -> None:
        """Raises CommandError ``limit_subscriptions`` if the group is unusual and the instrument has no room for its view."""
        if self._is_usual(command.group, instrument.ref.tick):
            return
        others = {
            (topic.depth, topic.group, topic.interval_ms)
            for topic in instrument.core.topics
            if not self._is_usual(topic.group, instrument.ref.tick)
        }
        if command.view[1:] not in others and len(others) >= self._most_other:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{instrument.name} shows {len(others)} views of unusual groups, and no more, so not of group "
                f"{command.group} too; always served are {self._shown}, and these times the tick, "
                f"{instrument.ref.tick} (welcome.limits.groups lists all)",
            )

    def _is_usual(self, group: int, tick: int) -> bool:
        if group == 1 or group in self._always:
            return True
        return group % tick == 0 and (group == tick or group // tick in self._always)
