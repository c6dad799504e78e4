"""The settings of topics: events."""

from __future__ import annotations

from dataclasses import dataclass

from mdstream.gateway.auth_settings import AuthSettings
from mdstream.gateway.event_policies import EventTopicList
from mdstream.gateway.settings import Group, Switch, Text, Whole

_events = Group("events of topics, in the JetStream stream MD_EVENTS", rank=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings(AuthSettings):
    """A part of ``GatewayConfig``."""

    events_enabled: bool = _events(
        True,
        Switch(),
        "whether clients may subscribe to events and publish them, as far as they are entitled to; the stream is created when the "
        "first one does",
    )
    events_topics: tuple[str, ...] = _events(
        (),
        EventTopicList(),
        "how topics are acknowledged: by the user, so that one of its devices acknowledges for all, by each device, or not at all; "
        "the first pattern that matches counts; user.* is :user:all and others :none where nothing is said; :all sends who "
        "has acknowledged nothing yet what is kept, :new what comes",
    )
    events_keep_days: int = _events(
        7, Whole(1, 3650), "how long events are kept; counts when the stream is created"
    )
    events_max_bytes: int = _events(
        1_073_741_824,
        Whole(1_048_576, 2**50, "bytes"),
        "size of the stream; beyond it the oldest events go; counts when the stream is created",
    )
    events_max_per_topic: int = _events(
        10_000,
        Whole(1, 100_000_000),
        "events of one topic; beyond them its oldest go; counts when the stream is created",
    )
    events_storage: str = _events(
        "file",
        Text(("file", "memory"), placeholder="file|memory"),
        "where NATS keeps events and positions; memory is faster, and lost with the server; counts when the stream is created",
    )
    publishes_per_second: int = _events(
        50,
        Whole(1, 1_000_000),
        "events of one user (or one address, where users are not known) to one topic per second, in the long run",
    )
    publishes_burst: int = _events(
        200, Whole(1, 10_000_000), "the same at once; more are refused as rate_limited"
    )
    published_bytes_per_hour: int = _events(
        268_435_456,
        Whole(1, 2**50, "bytes"),
        "bytes of events of one user (or one address, where users are not known) to all topics per hour, in the long run: the "
        "stream is bounded, and its oldest events go; exempt addresses are not counted",
    )
    published_bytes_burst: int = _events(
        134_217_728, Whole(1, 2**50, "bytes"), "the same at once; more are refused as rate_limited"
    )
    new_positions_per_hour: int = _events(
        10,
        Whole(1, 10_000_000),
        "topics, and devices at each, that one user (or one address, where users are not known) begins to acknowledge per hour, in "
        "the long run: what is acknowledged is kept for a month, and a full bucket forgets that of others",
    )
    new_positions_burst: int = _events(
        1_000, Whole(1, 10_000_000), "the same at once; more are refused as rate_limited"
    )
    max_event_topics: int = _events(
        10_000,
        Whole(1, 10_000_000),
        "topics whose events this gateway follows at a time; more are refused as unavailable",
    )
