"""What a client may do with topics: the entries of the claim ``md`` that name ``topics`` instead of ``instruments``.

::

    {"channels": ["events"], "topics": ["desk.*"], "read": true, "publish": false}

What no grant allows is refused. A user may always read his own topic (``user.<subject>``), and read and change the map of his alerts
(``alerts.<subject>``); others may publish there only where a grant says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mdstream.topics import ALERTS, TOPIC_CHANNELS, TopicPattern, is_of_a_user, matches_any, own_topic


class Verb(StrEnum):
    """What may be done; the keys of a grant that are true or false."""

    READ = "read"
    """Subscribe, on any channel of topics."""
    PUBLISH = "publish"
    """Publish an event."""
    WRITE = "write"
    """Change a map."""
    WHO = "who"
    """See who is present, not only how many."""


VERBS: Final = tuple(verb.value for verb in Verb)


@dataclass(frozen=True, slots=True)
class TopicGrant:
    """One entry of the claim."""

    channels: tuple[str, ...]
    topics: tuple[TopicPattern, ...]
    read: bool = True
    publish: bool = False
    write: bool = False
    who: bool = False

    def allows(self, verb: Verb, channel: str, topic: str) -> bool:
        return getattr(self, verb) and channel in self.channels and matches_any(self.topics, topic)


EVERYTHING: Final = TopicGrant(
    TOPIC_CHANNELS,
    (TopicPattern.parse("*"), TopicPattern.parse("user.*"), TopicPattern.parse("alerts.*")),
    publish=True,
    write=True,
    who=True,
)


def is_own(verb: Verb, channel: str, topic: str, subject: str) -> bool:
    """Whether it needs no grant: to read one's own topic, to read and change the map of one's own alerts."""
    if not is_of_a_user(topic):
        return False
    if topic == own_topic(subject):
        return verb is Verb.READ
    return channel == "map" and verb in (Verb.READ, Verb.WRITE) and topic == own_topic(subject, ALERTS)


def allow(grants: Sequence[TopicGrant], verb: Verb, channel: str, topic: str) -> bool:
    """Whether one of the grants allows it."""
    return any(grant.allows(verb, channel, topic) for grant in grants)
