"""How many grouped views clients may have: each is summed from the levels of the whole book, for those alone who asked for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

if TYPE_CHECKING:
    from mdstream._core.fanout.topic import Topic
    from mdstream.gateway.commands import Subscribe
    from mdstream.gateway.config import GatewayConfig
    from mdstream.gateway.open_instrument import OpenInstrument

MEASURED_AT_ONCE: Final = 2_000
"""Views whose memory is looked at in one go: about half a millisecond."""

_SHOWN = 8
_LEVEL_BYTES = 16
_VIEW_BYTES = 4_096
"""Of a view, besides its levels."""


class GroupedViews:
    """The bounds of ``group``: any number of ticks is served, while there is room.

    The configured ``groups``, and their multiples of an instrument's tick, are always served. All other groups of an instrument
    share ``max_other_groups`` views. All views of all clients together share ``max_grouped_bytes``; clients that ask for the same view
    share it.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._always = frozenset(config.groups)
        self._most = config.max_grouped
        self._most_other = config.max_other_groups
        self._most_bytes = config.max_grouped_bytes
        self._shown = ", ".join(map(str, config.groups[:_SHOWN])) + (
            " …" if len(self._always) > _SHOWN else ""
        )
        self._views: OrderedDict[Topic, int] = OrderedDict()
        """What each took when it was last measured; the one that was measured longest ago is first."""
        self.bytes = 0
        """What all of them take."""

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

    def check_memory(self, instruments: Iterable[OpenInstrument], command: Subscribe) -> None:
        """Raises CommandError ``limit_subscriptions`` if there is no memory for the views that do not exist yet."""
        more = sum(_bytes_of_new(instrument, command) for instrument in instruments)
        if not more or self.bytes + more <= self._most_bytes:
            return
        self.measure()
        if self.bytes + more > self._most_bytes:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"the grouped views of all clients take {self.bytes} bytes, these would take {more} more, and "
                f"{self._most_bytes} are allowed; a view that is shown already, a smaller depth, or group 1 may have room",
            )

    def joined(self, topic: Topic) -> None:
        """Call when a client has a grouped view."""
        if topic not in self._views:
            self._count(topic)

    def measure(self) -> None:
        """Looks again at some, in turns: books grow, and views end. Call it about once a second."""
        for _ in range(min(MEASURED_AT_ONCE, len(self._views))):
            topic, took = self._views.popitem(last=False)
            self.bytes -= took
            if topic.alive:
                self._count(topic)

    def _count(self, topic: Topic) -> None:
        self._views[topic] = takes = _VIEW_BYTES + topic.held_bytes
        self.bytes += takes

    def _is_usual(self, group: int, tick: int) -> bool:
        if group == 1 or group in self._always:
            return True
        return group % tick == 0 and (group == tick or group // tick in self._always)


def _bytes_of_new(instrument: OpenInstrument, command: Subscribe) -> int:
    """What its view would take at most; 0 if there is such a view."""
    core = instrument.core
    if any(
        (topic.channel, topic.depth, topic.group, topic.interval_ms) == command.view for topic in core.topics
    ):
        return 0
    levels = len(core.book)
    return _VIEW_BYTES + _LEVEL_BYTES * (min(2 * command.depth, levels) if command.depth else levels)
