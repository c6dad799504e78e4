"""Names of topics: what people and programs send each other messages about, beside the instruments.

A topic is one or more parts joined by dots, as in ``desk.notices``. A part has one or more of ``A-Z a-z 0-9 _ -``; any other
character stands there as its UTF-8 bytes, percent-encoded (``encode_part``). So every topic is a NATS subject as it is, and each
has one spelling. ``user.<subject>`` is the own topic of each user: he may always read it. A client may call it ``user``.
``alerts.<subject>`` is the map of each user's alerts: he may always read and change it. A client may call it ``alerts``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

TOPIC_CHANNELS: Final = ("events", "map", "presence")
"""The channels whose subscriptions are to topics. All others are to instruments."""
MAX_TOPIC: Final = 256
"""Characters of a topic, once encoded."""
OWN: Final = "user"
"""What a client may call its user's own topic, and the first part of all of these."""
ALERTS: Final = "alerts"
"""The same for the map of his alerts."""
_OF_USERS: Final = (OWN, ALERTS)

_OTHERS = re.compile(r"[^A-Za-z0-9_-]")
_PART = r"(?:[A-Za-z0-9_-]|%(?:[01][0-9A-F]|2[0-9A-CEF]|3[A-F]|40|5[B-E]|60|7[B-F]|[89A-F][0-9A-F]))+"
_TOPIC = re.compile(rf"{_PART}(?:\.{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}\.)*(?:{_PART})?\*")
_SHAPE = "one or more parts joined by dots, each of A-Z a-z 0-9 _ - or percent-encoded, as in desk.notices"


def check_topic(text: object) -> str:
    """The topic. Raises ValueError, which says how topics look."""
    if not isinstance(text, str) or len(text) > MAX_TOPIC or not _TOPIC.fullmatch(text):
        raise ValueError(f"topic is {_shown(text)}; it must be {_SHAPE}, with at most {MAX_TOPIC} characters")
    return text


def encode_part(text: str) -> str:
    """Any text as one part of a topic. Raises ValueError if it is empty."""
    if not text:
        raise ValueError("a part of a topic must not be empty")
    return _OTHERS.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def own_topic(subject: str, first: str = OWN) -> str | None:
    """The own topic of a user, or with ``ALERTS`` that of his alerts; None for nobody, and for one whose name is too long."""
    if not subject:
        return None
    topic = f"{first}.{encode_part(subject)}"
    return topic if len(topic) <= MAX_TOPIC else None


def named_topic(text: object, subject: str) -> str:
    """The topic that a user means. Raises ValueError for what is none."""
    if not isinstance(text, str) or text not in _OF_USERS:
        return check_topic(text)
    topic = own_topic(subject, text)
    if topic is None:
        raise ValueError(f"topic is {text!r}, your own, and who you are is not known; name another topic")
    return topic


def is_of_a_user(topic: str) -> bool:
    """Whether it is the own topic of some user, or that of his alerts."""
    return topic.partition(".")[0] in _OF_USERS and "." in topic


def is_of_alerts(topic: str) -> bool:
    """Whether it is the topic of some user's alerts."""
    first, _, part = topic.partition(".")
    return first == ALERTS and bool(part) and "." not in part


class TopicPattern(NamedTuple):
    """A topic, or the beginning of topics: ``desk.*`` is all that begin with ``desk.``, ``*`` is all.

    Own topics of users match those patterns alone that begin with ``user.``, and their alerts those that begin with ``alerts.``: whoever
    may read ``*`` reads no letters.
    """

    start: str
    is_whole: bool

    @classmethod
    def parse(cls, text: object) -> TopicPattern:
        """Raises ValueError, which says how patterns look."""
        if isinstance(text, str) and len(text) <= MAX_TOPIC + 1:
            if _TOPIC.fullmatch(text):
                return cls(text, True)
            if _PREFIX.fullmatch(text):
                return cls(text[:-1], False)
        raise ValueError(
            f"is {_shown(text)}; it must be a topic, or the beginning of one and *, as in desk.*"
        )

    def matches(self, topic: str) -> bool:
        if self.is_whole:
            return topic == self.start
        return topic.startswith(self.start) and (not is_of_a_user(topic) or "." in self.start)


def matches_any(patterns: Iterable[TopicPattern], topic: str) -> bool:
    return any(pattern.matches(topic) for pattern in patterns)


def _shown(value: object) -> str:
    """Short and printable: it comes from outside."""
    if not isinstance(value, str):
        return "no string"
    return ascii(value) if len(value) <= 64 else f"{value[:64]!a}…"
