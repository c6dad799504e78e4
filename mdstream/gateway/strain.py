"""Whether this gateway cannot keep up, so that it sends less often to those who asked for intervals; they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.topic import Topic

REASON: Final = "this gateway cannot keep up: updates come less often than asked for"


class Strain:
    is_told = False
    """Whether it is so."""

    def concerns(self, topic: Topic) -> bool:
        """Whether subscribers to a topic get less than they asked for."""
        return self.is_told and self.may_concern(topic)

    @staticmethod
    def may_concern(topic: Topic) -> bool:
        """Trades come as often as ever: else there could be too many to keep."""
        return topic.interval_ms > 0 and topic.channel != Channel.TRADES
