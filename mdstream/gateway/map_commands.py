"""The commands of maps and presence, and what is checked of each before anything is asked of the bus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.control_decoder import first_repeated
from mdstream.maps import MAX_KEY, MAX_TTL_MS, Change, check_change, check_key, check_value
from mdstream.model import MAX_NUMBER, Channel
from mdstream.topics import named_topic
from mdstream.wording import shown

Number = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Resume = dict[str, tuple[Number, Number]]
CommandId = int | str | UnsetType

MAX_INFO_BYTES: Final = 1_024
"""What a session may say of itself where it is present, as MessagePack."""
MAX_PUT_KEY: Final = 64
"""Characters of what names a ``put``, so that it is done once."""
LEAST_MS: Final = 100
"""The shortest interval of a map that is not 0, and of presence."""
PRESENCE_MS: Final = 1_000
"""The interval of presence where the command gives none."""


class _Command(Struct, tag_field="op", forbid_unknown_fields=True, frozen=True, kw_only=True):
    id: CommandId = UNSET


class SubscribeMap(_Command, tag="subscribe", frozen=True):
    """To maps: one subscription for each topic, of the keys that begin with ``prefix``."""

    channel: Channel
    topics: list[str]
    prefix: str = ""
    interval_ms: Number = 0
    resume: Resume = msgspec.field(default_factory=dict)


class SubscribePresence(_Command, tag="subscribe", frozen=True):
    """To who is present, or how many; ``join``: this session is too, while it has the subscription."""

    channel: Channel
    topics: list[str]
    join: bool = False
    info: Any = None
    who: bool = False
    interval_ms: Number = 0
    """0: the usual one."""
    resume: Resume = msgspec.field(default_factory=dict)


class Put(_Command, tag="put", frozen=True):
    """One atomic change of a map."""

    topic: str
    set: dict[str, Any] = msgspec.field(default_factory=dict)
    delete: list[str] = msgspec.field(default_factory=list)
    expect: dict[str, Number] = msgspec.field(default_factory=dict)
    ttl_ms: Annotated[int, Meta(ge=1, le=MAX_TTL_MS)] | None = None
    key: Annotated[str, Meta(min_length=1, max_length=MAX_PUT_KEY)] | None = None

    def change(self, by: str) -> Change:
        """Raises CommandError ``bad_value``."""
        change = Change(
            {key: (value, self.ttl_ms) for key, value in self.set.items()},
            tuple(self.delete),
            self.expect,
            by or None,
        )
        for name in ("set", "delete", "expect"):
            for key in getattr(self, name):
                _check(check_key, key, name, key)
        for key, value in self.set.items():
            _check(check_value, value, "set", key)
        try:
            check_change(change)
        except ValueError as error:
            raise bad_value(str(error)) from None
        return change


def check_map(config: GatewayConfig, command: SubscribeMap) -> None:
    """Raises CommandError ``bad_value``."""
    _check_topics(config, command.topics, command.resume)
    if len(command.prefix) > MAX_KEY:
        raise bad_value(f"prefix has {len(command.prefix)} characters; a key has at most {MAX_KEY}")
    _check_interval(config, command.interval_ms, least=0)


def check_presence(config: GatewayConfig, command: SubscribePresence) -> None:
    """Raises CommandError ``bad_value``."""
    _check_topics(config, command.topics, command.resume)
    if command.interval_ms:
        _check_interval(config, command.interval_ms, least=LEAST_MS)
    if command.info is not None and not command.join:
        raise bad_value("info is for those who join; join is false")
    try:
        size = check_value(command.info)
    except ValueError as error:
        raise bad_value(f"info: {error}") from None
    if size > MAX_INFO_BYTES:
        raise bad_value(f"info has {size} bytes as MessagePack; {MAX_INFO_BYTES} are allowed")


def _check(check: Callable[[Any], object], value: object, name: str, key: str) -> None:
    """Raises CommandError ``bad_value`` that says of which key."""
    try:
        check(value)
    except ValueError as error:
        raise bad_value(f"{name}[{shown(key)}]: {error}") from None


def usual_ms(config: GatewayConfig) -> int:
    """The interval of presence where the command gives none: the next one that is served."""
    served = [ms for ms in config.intervals_ms if ms >= LEAST_MS]
    return min((ms for ms in served if ms >= PRESENCE_MS), default=max(served, default=PRESENCE_MS))


def topics_of(command: SubscribeMap | SubscribePresence, subject: str) -> dict[str, tuple[int, int] | None]:
    """The topics that the user means, each with where it is resumed. Raises CommandError ``bad_value``."""
    found: dict[str, tuple[int, int] | None] = {}
    for text in command.topics:
        topic = topic_of(text, subject)
        if topic in found:
            raise bad_value(f"topics names {shown(topic)} twice")
        found[topic] = command.resume.get(text)
    return found


def topic_of(text: str, subject: str) -> str:
    """The topic that the user means. Raises CommandError ``bad_value``."""
    try:
        return named_topic(text, subject)
    except ValueError as error:
        raise bad_value(str(error)) from None


def _check_topics(config: GatewayConfig, topics: Sequence[str], resume: Resume) -> None:
    most = config.max_instruments_per_command
    if not 1 <= len(topics) <= most:
        raise bad_value(f"topics has {len(topics)} entries; 1 to {most} are allowed")
    if (twice := first_repeated(topics)) is not None:
        raise bad_value(f"topics names {shown(twice)} twice")
    for topic in resume.keys() - set(topics):
        raise bad_value(f"resume names {shown(topic)}, which is not one of the topics")


def _check_interval(config: GatewayConfig, interval_ms: int, least: int) -> None:
    served = [ms for ms in config.intervals_ms if ms >= LEAST_MS or ms == least == 0]
    if interval_ms not in served:
        raise bad_value(f"interval_ms is {interval_ms}; served here are {', '.join(map(str, served))}")


def bad_value(message: str) -> CommandError:
    return CommandError(ErrorCode.BAD_VALUE, message)
