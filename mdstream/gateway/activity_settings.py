"""The settings of what is told to webhooks of sessions here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mdstream.gateway.map_settings import MapSettings
from mdstream.gateway.settings import Group, Some, Whole

KINDS: Final = ("session", "subscription", "presence")

_activity = Group("what sessions do, for webhooks, in the JetStream stream MD_ACTIVITY", rank=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivitySettings(MapSettings):
    """A part of ``GatewayConfig``."""

    activity_kinds: tuple[str, ...] = _activity(
        (),
        Some(KINDS),
        "what is stored for `mdstream webhooks`: sessions that open and close, their subscriptions, who joins and leaves a topic; "
        "nothing by default",
    )
    activity_backlog: int = _activity(
        100_000,
        Whole(100, 10_000_000),
        "records that wait in memory while NATS is away; beyond it further ones are lost, which the log, the metrics and the webhooks tell",
    )
    activity_keep_days: int = _activity(
        7, Whole(1, 3650), "how long records are kept; counts when the stream is created"
    )
    activity_max_bytes: int = _activity(
        268_435_456,
        Whole(1_048_576, 2**50, "bytes"),
        "size of the stream; beyond it the oldest records go; counts when the stream is created",
    )
