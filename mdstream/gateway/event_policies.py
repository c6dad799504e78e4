"""How events of a topic are acknowledged: the setting ``events_topics``, as in ``desk.orders.*:user``, ``audit.*:device:new``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mdstream.topics import TopicPattern
from mdstream.wording import written

NONE: Final = "none"
"""At most once: who lost something asks for it."""
USER: Final = "user"
"""One device of a user acknowledges for all."""
DEVICE: Final = "device"
"""Each device of a user acknowledges by itself."""
HOWS: Final = (USER, DEVICE, NONE)
BEGINNINGS: Final = ("all", "new")
MOST: Final = 1_000
_SHAPE: Final = "must read PATTERN:user, PATTERN:device or PATTERN:none, and may end with :all or :new, as in desk.*:user:new"


class Policy(NamedTuple):
    """``from_all``: whether who has acknowledged nothing yet is sent all that is kept; else what is new."""

    acknowledge: str
    from_all: bool


_OF_USERS: Final = (TopicPattern("user.", False), Policy(USER, True))
_OF_OTHERS: Final = Policy(NONE, False)


def parse_policy(text: object) -> tuple[TopicPattern, Policy]:
    """Raises ValueError, which says what is allowed."""
    if not isinstance(text, str):
        raise ValueError(f"is {written(text)}; it {_SHAPE}")
    pattern, how, since = (*text.split(":"), "new")[:3] if 1 <= text.count(":") <= 2 else ("", "", "")
    if how not in HOWS or since not in BEGINNINGS:
        raise ValueError(f"is {text!r}; it {_SHAPE}")
    return TopicPattern.parse(pattern), Policy(how, since == "all")


@dataclass(frozen=True, slots=True)
class EventTopicList:
    """A setting: policies of topics, the first that matches counts."""

    placeholder: str = "PATTERN:user|device|none[:all|new],…"

    def read(self, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or len(raw) > MOST:
            raise ValueError(f"is {written(raw)}; it must be a list of at most {MOST} entries; each {_SHAPE}")
        for each in raw:
            parse_policy(each)
        return tuple(raw)

    def read_text(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",") if part.strip()])


class Policies:
    """Those of the configuration. Without one, own topics of users are acknowledged by the user, all others not."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._policies = [*map(parse_policy, texts), _OF_USERS]

    def of(self, topic: str) -> Policy:
        for pattern, policy in self._policies:
            if pattern.matches(topic):
                return policy
        return _OF_OTHERS
