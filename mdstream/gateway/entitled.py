"""Whether a client's entitlements allow a command, and which of its subscriptions they no longer allow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mdstream.auth.topic_grants import Verb
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError

if TYPE_CHECKING:
    from mdstream._core.fanout.topic import Topic
    from mdstream.auth.entitlements import Entitlements
    from mdstream.auth.identity import Identity
    from mdstream.gateway.commands import Subscribe


def check_subscribe(
    entitlements: Entitlements,
    command: Subscribe,
    served_ms: int = 0,
    names: Iterable[str] | None = None,
) -> None:
    """Raises CommandError ``not_entitled`` unless all instruments of the command are allowed on a gateway that is ``served_ms``
    late; or these of them. Asks nobody what exists."""
    for name in command.instruments if names is None else names:
        _check(entitlements, command.channel, name, command.depth, command.interval_ms, served_ms)


def check_instruments(
    entitlements: Entitlements, channel: str, names: Iterable[str], interval_ms: int, served_ms: int = 0
) -> None:
    """As ``check_subscribe``, for channels without depth."""
    for name in names:
        _check(entitlements, channel, name, 0, interval_ms, served_ms)


def check_topic(entitlements: Entitlements, topic: Topic, served_ms: int = 0) -> None:
    """Raises CommandError ``not_entitled`` unless the subscription to this topic is allowed."""
    _check(entitlements, topic.channel, topic.instrument.name, topic.depth, topic.interval_ms, served_ms)


def check_may(identity: Identity, verb: Verb, channel: str, topic: str) -> None:
    """Raises CommandError ``not_entitled`` unless a user may do this with a topic. Asks nobody what exists."""
    if identity.entitlements.may(verb, channel, topic, identity.subject):
        return
    raise CommandError(
        ErrorCode.NOT_ENTITLED, f"you may not {_DOES[verb]} {channel} of {topic}: no grant of yours allows it"
    )


_DOES = {Verb.READ: "read", Verb.PUBLISH: "publish", Verb.WRITE: "change", Verb.WHO: "see who is there in"}


def no_longer_allowed(entitlements: Entitlements, topics: Iterable[Topic], served_ms: int = 0) -> list[Topic]:
    """Those of the topics that a client must not see any more."""
    return [topic for topic in topics if not _allows(entitlements, topic, served_ms)]


def _allows(entitlements: Entitlements, topic: Topic, served_ms: int) -> bool:
    try:
        check_topic(entitlements, topic, served_ms)
    except CommandError:
        return False
    return True


def _check(
    entitlements: Entitlements, channel: str, instrument: str, depth: int, interval_ms: int, served_ms: int
) -> None:
    late_ms = entitlements.delay_ms(channel, instrument, depth, interval_ms)
    if late_ms is not None and late_ms <= served_ms:
        return
    why = entitlements.check(channel, instrument, depth, interval_ms)
    serves = f"is {served_ms} ms late" if served_ms else "serves live data"
    late = f"you may see {channel} of {instrument} only {late_ms} ms late, and this gateway {serves}; use one with that delay"
    raise CommandError(ErrorCode.NOT_ENTITLED, why or late)
